# SPDX-License-Identifier: Apache-2.0
"""A dimension of a tensor in parts on the ranks of a group, which need not divide it, under the names that other projects import.

Where nobody says how long the parts are, the first ranks have one more. Gradients go the other way round.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from mindspeed.features.communication._shares import shares

__all__ = [
    "all_to_all",
    "cal_split_sizes",
    "gather_forward_split_backward",
    "split_forward_gather_backward",
]


def cal_split_sizes(dim_size: int, world_size: int) -> list[int]:
    """How long the parts are."""
    return shares(dim_size, world_size)


def _sizes(given: Sequence[int] | None, length: int, group: ProcessGroup) -> list[int]:
    return list(given) if given else shares(length, group.size())


def _split(
    input_: Tensor, process_group: ProcessGroup, dim: int = -1, split_sizes: Sequence[int] | None = None
) -> Tensor:
    """This rank's part."""
    sizes = _sizes(split_sizes, input_.shape[dim], process_group)
    return input_.split(sizes, dim)[process_group.rank()].contiguous()


def _gather(
    input_: Tensor, process_group: ProcessGroup, dim: int = -1, gather_sizes: Sequence[int] | None = None
) -> Tensor:
    """All parts, which without gather_sizes are as long as this rank's."""
    ranks = process_group.size()
    sizes = list(gather_sizes) if gather_sizes else [input_.shape[dim]] * ranks
    if input_.shape[dim] != sizes[process_group.rank()]:
        raise ValueError(
            f"gather_sizes: rank {process_group.rank()} of the group has {input_.shape[dim]} in dimension {dim}, and "
            f"{sizes} say something else"
        )
    part = input_.movedim(dim, 0)
    sent = part.new_zeros(max(sizes), *part.shape[1:])  # a collective moves as much for each rank
    sent[: part.shape[0]] = part
    got = sent.new_empty(ranks, *sent.shape)
    torch.distributed.all_gather_into_tensor(got, sent, group=process_group)
    whole = torch.cat([piece[:size] for piece, size in zip(got, sizes, strict=True)])
    return whole.movedim(0, dim).contiguous()


def _exchange(
    input_: Tensor, group: ProcessGroup, scatter_dim: int, gather_dim: int, gather_size: int | None
) -> Tensor:
    ranks, rank, shape = group.size(), group.rank(), list(input_.shape)
    scattered = shares(shape[scatter_dim], ranks)
    gathered = shares(gather_size, ranks) if gather_size else [shape[gather_dim]] * ranks
    if gathered[rank] != shape[gather_dim]:
        raise ValueError(
            f"all_to_all: rank {rank} of {ranks} has {shape[gather_dim]} in dimension {gather_dim}, wanted "
            f"{gathered[rank]} of {gather_size}"
        )
    shape[scatter_dim] = scattered[rank]
    shapes = [[*shape[:gather_dim], size, *shape[gather_dim + 1 :]] for size in gathered]
    counts = [torch.Size(of_rank).numel() for of_rank in shapes]
    sent = [part.reshape(-1) for part in input_.split(scattered, scatter_dim)]
    got = input_.new_empty(sum(counts))
    torch.distributed.all_to_all_single(
        got, torch.cat(sent), counts, [part.numel() for part in sent], group=group
    )
    parts = [part.view(of_rank) for part, of_rank in zip(got.split(counts), shapes, strict=True)]
    return torch.cat(parts, gather_dim)


class _AllToAll(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        input_: Tensor,
        process_group: ProcessGroup,
        scatter_dim: int,
        gather_dim: int,
        gather_size: int | None = None,
    ) -> Tensor:
        scatter_dim, gather_dim = scatter_dim % input_.dim(), gather_dim % input_.dim()
        ctx.back = (process_group, gather_dim, scatter_dim, input_.shape[scatter_dim])
        return _exchange(input_, process_group, scatter_dim, gather_dim, gather_size)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        return _exchange(gradient, *ctx.back), None, None, None, None


def _scaled(gradient: Tensor, scale: str | None, ranks: int) -> Tensor:
    if scale == "up":
        return gradient * ranks
    return gradient / ranks if scale == "down" else gradient


class _SplitForwardGatherBackward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, input_: Tensor, process_group: ProcessGroup, dim: int, sizes: list[int], scale: str | None
    ) -> Tensor:
        ctx.back = (process_group, dim, sizes)
        ctx.scale = scale
        return _split(input_, process_group, dim, sizes)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        whole = _gather(_scaled(gradient, ctx.scale, ctx.back[0].size()), *ctx.back)
        return whole, None, None, None, None


class _GatherForwardSplitBackward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, input_: Tensor, process_group: ProcessGroup, dim: int, sizes: list[int], scale: str | None
    ) -> Tensor:
        ctx.back = (process_group, dim, sizes)
        ctx.scale = scale
        return _gather(input_, process_group, dim, sizes)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        part = _split(_scaled(gradient, ctx.scale, ctx.back[0].size()), *ctx.back)
        return part, None, None, None, None


def all_to_all(
    input_: Tensor,
    process_group: ProcessGroup,
    scatter_dim: int = 2,
    gather_dim: int = 1,
    gather_size: int | None = None,
) -> Tensor:
    """Dimension scatter_dim is shared out, and the parts of gather_dim come together.

    gather_size: how long gather_dim is then, if ranks have parts of different lengths.
    """
    result: Tensor = _AllToAll.apply(input_, process_group, scatter_dim, gather_dim, gather_size)
    return result


def split_forward_gather_backward(
    input_: Tensor,
    process_group: ProcessGroup,
    dim: int,
    split_sizes: Sequence[int] | None = None,
    grad_scale: str | None = "down",
) -> Tensor:
    """This rank's part; the gradient is gathered, divided by the number of ranks ("down"), multiplied by it ("up") or left."""
    sizes = _sizes(split_sizes, input_.shape[dim], process_group)
    result: Tensor = _SplitForwardGatherBackward.apply(input_, process_group, dim, sizes, grad_scale)
    return result


def gather_forward_split_backward(
    input_: Tensor,
    process_group: ProcessGroup,
    dim: int,
    gather_sizes: Sequence[int] | None = None,
    grad_scale: str | None = "up",
) -> Tensor:
    """All parts; the gradient's own part, scaled as there."""
    sizes = list(gather_sizes) if gather_sizes else [input_.shape[dim]] * process_group.size()
    result: Tensor = _GatherForwardSplitBackward.apply(input_, process_group, dim, sizes, grad_scale)
    return result
