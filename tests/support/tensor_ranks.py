# SPDX-License-Identifier: Apache-2.0
"""Ranks of a job that hold all of a model first, and share its layers then: what both work out is compared."""

from __future__ import annotations

import os

import torch
from torch import Tensor


def start() -> int:
    """The rank, in a group over all of the job's."""
    torch.npu.set_device(int(os.environ["LOCAL_RANK"]))
    store, rank, world = next(torch.distributed.rendezvous("env://"))
    torch.distributed.init_process_group("hccl", store=store, rank=rank, world_size=world)
    return int(rank)


def share(*, tensor_model_parallel_size: int) -> None:
    """Groups of Megatron's in which so many ranks share each layer."""
    from megatron.core import parallel_state, tensor_parallel

    parallel_state.destroy_model_parallel()
    parallel_state.initialize_model_parallel(
        tensor_model_parallel_size=tensor_model_parallel_size, create_gloo_process_groups=False
    )
    tensor_parallel.model_parallel_cuda_manual_seed(1)


def gathered(part: Tensor, ranks: int) -> Tensor:
    """Parts of all ranks, one after the other along the first dimension."""
    if ranks == 1:
        return part
    parts = [torch.empty_like(part) for _ in range(ranks)]
    torch.distributed.all_gather(parts, part.contiguous())
    return torch.cat(parts)


def difference(found: Tensor, wanted: Tensor) -> float:
    """The greatest, relative to the greatest value."""
    return float((found - wanted).abs().max() / wanted.abs().max())
