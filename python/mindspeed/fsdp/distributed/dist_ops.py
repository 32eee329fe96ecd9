# SPDX-License-Identifier: Apache-2.0
"""Collectives with gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

__all__ = ["all_to_all", "gather_along_first_dim_expert_parallel"]


class _AllToAll(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        group: ProcessGroup,
        inputs: Tensor,
        output_split_sizes: list[int] | None,
        input_split_sizes: list[int] | None,
    ) -> Tensor:
        ctx.group, ctx.splits = group, (output_split_sizes, input_split_sizes)
        inputs = inputs.contiguous()
        rows = inputs.shape[0] if output_split_sizes is None else sum(output_split_sizes)
        output = inputs.new_empty(rows, *inputs.shape[1:])
        torch.distributed.all_to_all_single(
            output,
            inputs,
            output_split_sizes=output_split_sizes,
            input_split_sizes=input_split_sizes,
            group=group,
        )
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None, None]:
        there, back = ctx.splits
        return None, _AllToAll.apply(ctx.group, gradient, back, there), None, None


def _sizes(splits: Sequence[int] | None) -> list[int] | None:
    return None if splits is None else [int(size) for size in splits]


def all_to_all(
    group: ProcessGroup,
    inputs: Tensor,
    output_split_sizes: Sequence[int] | None = None,
    input_split_sizes: Sequence[int] | None = None,
) -> Tensor:
    """Slice r of the rows goes to rank r, and what comes from it is slice r of the result; without sizes all are equal."""
    if torch.distributed.get_world_size(group) == 1:
        return inputs
    result: Tensor = _AllToAll.apply(group, inputs, _sizes(output_split_sizes), _sizes(input_split_sizes))
    return result


def gather_along_first_dim_expert_parallel(
    input_: Tensor, group: ProcessGroup, async_op: bool = False
) -> tuple[Tensor, Any]:
    """(the ranks' tensors along the first dimension, what to wait for); no gradient."""
    size = torch.distributed.get_world_size(group)
    if size == 1:
        return input_, None
    output = input_.new_empty(input_.shape[0] * size, *input_.shape[1:])
    work = torch.distributed.all_gather_into_tensor(
        output, input_.contiguous(), group=group, async_op=async_op
    )
    return output, work
