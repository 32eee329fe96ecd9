# SPDX-License-Identifier: Apache-2.0
"""Gathers and sums over a group that is given as a class of comm_group_api, under the names that other projects import."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mindspeed.core.tensor_parallel.comm_group_api import TPXCollectiveComm

__all__ = [
    "sync_gather_along_first_dim", "sync_gather_along_last_dim", "sync_reduce_scatter_along_first_dim",
    "sync_reduce_scatter_along_last_dim",
]  # fmt: skip


def sync_gather_along_first_dim(
    local_rank_input: Tensor, comm_intf: Any = TPXCollectiveComm, buffer_name: str | None = None
) -> Tensor:
    """[n, ...] -> [ranks * n, ...]. buffer_name: of a buffer that is kept by the original; here PyTorch keeps memory."""
    size = comm_intf.get_comm_group_world_size()
    if size == 1:
        return local_rank_input
    part = local_rank_input.contiguous()
    whole = part.new_empty((size * part.shape[0], *part.shape[1:]))
    torch.distributed.all_gather_into_tensor(whole, part, group=comm_intf.get_comm_group())
    return whole


def sync_gather_along_last_dim(local_rank_tensor: Tensor, ag_comm_intf: Any = TPXCollectiveComm) -> Tensor:
    """[..., n] -> [..., ranks * n]"""
    if ag_comm_intf.get_comm_group_world_size() == 1:
        return local_rank_tensor
    together = sync_gather_along_first_dim(local_rank_tensor.unsqueeze(0), ag_comm_intf)
    return torch.cat(together.unbind(), -1)


def sync_reduce_scatter_along_first_dim(
    local_rank_input: Tensor, comm_intf: Any = TPXCollectiveComm
) -> Tensor:
    """[ranks * n, ...] -> this rank's part [n, ...] of the sum over the ranks."""
    size = comm_intf.get_comm_group_world_size()
    if size == 1:
        return local_rank_input
    length = local_rank_input.shape[0]
    if length % size:
        raise ValueError(f"a tensor with {length} in its first dimension has no equal parts for {size} ranks")
    part = local_rank_input.new_empty((length // size, *local_rank_input.shape[1:]))
    torch.distributed.reduce_scatter_tensor(
        part, local_rank_input.contiguous(), group=comm_intf.get_comm_group()
    )
    return part


def sync_reduce_scatter_along_last_dim(
    local_rank_input: Tensor, rs_comm_intf: Any = TPXCollectiveComm
) -> Tensor:
    """[..., ranks * n] -> this rank's part [..., n] of the sum over the ranks."""
    turned = local_rank_input.transpose(0, -1)
    return sync_reduce_scatter_along_first_dim(turned, rs_comm_intf).transpose(0, -1).contiguous()
