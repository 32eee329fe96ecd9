# SPDX-License-Identifier: Apache-2.0
"""Splits and gathers with gradients over a group of comm_group_api, under the names that other projects import.

A gradient takes the other way and is not summed: all ranks of the group have the same one behind a gather.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mindspeed.core.context_parallel.ulysses_context_parallel.unaligned_cp.mapping import (
    gather_forward_split_backward,
    split_forward_gather_backward,
)

__all__ = [
    "auto_grad_scatter_along_first_dim", "auto_grad_scatter_along_first_dim_then_last_dim",
    "auto_grad_scatter_along_last_dim", "auto_grad_sync_gather_along_first_dim",
    "auto_grad_sync_gather_along_last_dim",
]  # fmt: skip


def _scattered(whole: Tensor, comm_intf: Any, dim: int) -> Tensor:
    size = comm_intf.get_comm_group_world_size()
    if size == 1:
        return whole
    if whole.shape[dim] % size:
        raise ValueError(
            f"a tensor with {whole.shape[dim]} in dimension {dim} has no equal parts for {size} ranks"
        )
    return split_forward_gather_backward(whole, comm_intf.get_comm_group(), dim, None, None)


def _gathered(part: Tensor, comm_intf: Any, dim: int) -> Tensor:
    if comm_intf.get_comm_group_world_size() == 1:
        return part
    return gather_forward_split_backward(part, comm_intf.get_comm_group(), dim, None, None)


def auto_grad_scatter_along_first_dim(input_: Tensor, comm_intf: Any) -> Tensor:
    """[ranks * n, ...] -> this rank's [n, ...]"""
    return _scattered(input_, comm_intf, 0)


def auto_grad_scatter_along_last_dim(input_: Tensor, comm_intf: Any) -> Tensor:
    """[..., ranks * n] -> this rank's [..., n]"""
    return _scattered(input_, comm_intf, -1)


def auto_grad_scatter_along_first_dim_then_last_dim(
    local_rank_input: Tensor, first_dim_comm_intf: Any, last_dim_comm_intf: Any
) -> Tensor:
    """Both, each over a group of its own."""
    return _scattered(_scattered(local_rank_input, first_dim_comm_intf, 0), last_dim_comm_intf, -1)


def auto_grad_sync_gather_along_first_dim(input_: Tensor, comm_intf: Any) -> Tensor:
    """[n, ...] -> [ranks * n, ...]"""
    return _gathered(input_, comm_intf, 0)


def auto_grad_sync_gather_along_last_dim(input_: Tensor, comm_intf: Any) -> Tensor:
    """[..., n] -> [..., ranks * n]"""
    return _gathered(input_, comm_intf, -1)
