# SPDX-License-Identifier: Apache-2.0
"""torch.distributed.all_reduce takes float64, which torch_npu refuses although Megatron-LM reduces its start time so.

The values are gathered as 64-bit integers and reduced on every rank in rank order: exact, and the same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch

_REDUCTIONS: dict[Any, Callable[[torch.Tensor], torch.Tensor]] = {
    torch.distributed.ReduceOp.SUM: lambda values: values.sum(0),
    torch.distributed.ReduceOp.AVG: lambda values: values.mean(0),
    torch.distributed.ReduceOp.PRODUCT: lambda values: values.prod(0),
    torch.distributed.ReduceOp.MAX: lambda values: values.amax(0),
    torch.distributed.ReduceOp.MIN: lambda values: values.amin(0),
}


def _reduce_double(tensor: torch.Tensor, op: Any, group: Any) -> Any:
    """In place; returns the finished gathering, whose wait() returns at once."""
    if op not in _REDUCTIONS:
        raise ValueError(f"all_reduce of float64 on an NPU: reduction {op} is not available")
    mine = tensor.detach().contiguous().view(torch.int64)
    parts = [torch.empty_like(mine) for _ in range(torch.distributed.get_world_size(group))]
    work = torch.distributed.all_gather(parts, mine, group=group, async_op=True)
    work.wait()
    if len(parts) > 1:  # of one value there is nothing to reduce
        tensor.copy_(_REDUCTIONS[op](torch.stack([part.view(torch.float64) for part in parts])))
    return work


def accept_double(all_reduce: Callable[..., Any]) -> Callable[..., Any]:
    """Take float64 tensors of an NPU out of PyTorch's hands."""

    def reduce(
        tensor: torch.Tensor,
        op: Any = torch.distributed.ReduceOp.SUM,
        group: Any = None,
        async_op: bool = False,
    ) -> Any:
        if tensor.dtype is not torch.float64 or tensor.device.type != "npu":
            return all_reduce(tensor, op, group, async_op)
        work = _reduce_double(tensor, op, group)
        return work if async_op else None

    return reduce


FEATURE = Feature(
    name="double-all-reduce",
    level=Level.COMPATIBILITY,
    patches=(Patch("torch.distributed:all_reduce", accept_double, wraps=True),),
)
