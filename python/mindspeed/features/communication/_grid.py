# SPDX-License-Identifier: Apache-2.0
"""Tensor-parallel ranks as a grid of x by y: rank i + x j is at (i, j). Neighbours along x are neighbours in the group.

Activations between layers are cut along the sequence by x and along the hidden size by y: [s/x, b, h/y].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.distributed import P2POp, Work


@dataclass(frozen=True, slots=True)
class Side:
    """The ranks that differ from this one in one coordinate alone; no group where it is the only one."""

    group: Any
    ranks: tuple[int, ...]
    rank: int

    @property
    def size(self) -> int:
        return len(self.ranks)


@dataclass(frozen=True, slots=True)
class Grid:
    group: Any
    x: Side
    y: Side

    @property
    def size(self) -> int:
        return self.x.size * self.y.size

    @property
    def place(self) -> int:
        """Which of the parts this rank holds of what plain tensor parallelism cuts (heads, widths of the MLP): the ranks
        of a line along y hold parts that lie together."""
        return self.x.rank * self.y.size + self.y.rank


class Done:
    """In place of the Work of a collective of one rank."""

    def wait(self) -> None:
        pass


_grids: WeakKeyDictionary[Any, dict[tuple[int, int], Grid]] = WeakKeyDictionary()


def grid_of(config: Any) -> Grid:
    """Made once for a tensor-parallel group, by all of its ranks when the first layer is built."""
    from megatron.core import parallel_state

    group = parallel_state.get_tensor_model_parallel_group()
    kept = _grids.setdefault(group, {})
    sizes = (config.tp_x, config.tp_y)
    if sizes not in kept:
        if config.tp_x * config.tp_y != group.size():
            raise ValueError(
                f"--tp-x {config.tp_x} by --tp-y {config.tp_y} is no grid of {group.size()} tensor-parallel ranks"
            )
        kept[sizes] = _made(group, *sizes)
    return kept[sizes]


def _made(group: Any, x: int, y: int) -> Grid:
    ranks, at = torch.distributed.get_process_group_ranks(group), group.rank()
    i, j = at % x, at // x
    return Grid(
        group, _side(ranks[j * x : (j + 1) * x], ranks, group, i), _side(ranks[i::x], ranks, group, j)
    )


def _side(ranks: list[int], of_all: list[int], group: Any, at: int) -> Side:
    if len(ranks) == 1:
        return Side(None, tuple(ranks), at)
    made = group
    if ranks != of_all:
        made = torch.distributed.new_group(ranks, use_local_synchronization=True)
    return Side(made, tuple(ranks), at)


def start_gather(part: Tensor, side: Side) -> tuple[Tensor, Work | Done]:
    """[ranks, ...] of all, to be waited for."""
    part = part.contiguous()
    if side.size == 1:
        return part.unsqueeze(0), Done()
    whole = part.new_empty((side.size, *part.shape))
    return whole, torch.distributed.all_gather_into_tensor(
        whole.flatten(0, 1), part, group=side.group, async_op=True
    )


def start_scatter(parts: Tensor, side: Side) -> tuple[Tensor, Work | Done]:
    """Of [ranks, ...] this rank's part of the sum over the ranks, to be waited for."""
    if side.size == 1:
        return parts.squeeze(0), Done()
    part = parts.new_empty(parts.shape[1:])
    return part, torch.distributed.reduce_scatter_tensor(
        part, parts.flatten(0, 1), group=side.group, async_op=True
    )


def gather(part: Tensor, side: Side) -> Tensor:
    whole, coming = start_gather(part, side)
    coming.wait()
    return whole


def scatter(parts: Tensor, side: Side) -> Tensor:
    part, leaving = start_scatter(parts, side)
    leaving.wait()
    return part


def _swap(side: Side, to: int, sent: Tensor, of: int, received: Tensor) -> list[Work]:
    """Messages between two pairs of ranks, at once."""
    return torch.distributed.batch_isend_irecv(
        [
            P2POp(torch.distributed.isend, sent, side.ranks[to], side.group),
            P2POp(torch.distributed.irecv, received, side.ranks[of], side.group),
        ]
    )


def arriving(part: Tensor, whole: Tensor, side: Side) -> Iterator[int]:
    """A gather into `whole` [ranks, ...], message by message: yields whose part is there, this rank's first. Each rank
    sends to the one `step` places on; all messages are on their way from the start."""
    own = part.contiguous()
    coming = []
    for step in range(1, side.size):
        to, of = (side.rank + step) % side.size, (side.rank - step) % side.size
        coming.append((of, _swap(side, to, own, of, whole[of])))
    whole[side.rank].copy_(own)
    yield side.rank
    for of, works in coming:
        for work in works:
            work.wait()
        yield of


def sent_as_made(make: Callable[[int], Tensor], side: Side) -> Tensor:
    """This rank's part of the sum over the ranks of what they make for it: a part leaves while the next is made. This
    rank's own comes last; the others' are added in an order that depends on the rank alone."""
    coming = []
    for step in range(1, side.size):
        to, of = (side.rank + step) % side.size, (side.rank - step) % side.size
        part = make(to)
        received = torch.empty_like(part)
        coming.append((part, received, _swap(side, to, part, of, received)))
    total = make(side.rank)
    for _, received, works in coming:
        for work in works:
            work.wait()
        total = total.add_(received)
    return total


def cut(whole: Tensor, grid: Grid) -> Tensor:
    """[s, b, h] -> [s/x, b, h/y]"""
    length, width = whole.shape[0], whole.shape[-1]
    if length % grid.x.size or width % grid.y.size:
        raise ValueError(
            f"--tp-2d: a sequence of {length} by a hidden size of {width} is not divisible by --tp-x {grid.x.size} and "
            f"--tp-y {grid.y.size}"
        )
    rows = whole.chunk(grid.x.size)[grid.x.rank]
    return rows.chunk(grid.y.size, -1)[grid.y.rank].contiguous()


def put_together(part: Tensor, grid: Grid) -> Tensor:
    """[s/x, b, h/y] -> [s, b, h]: one collective of the whole grid."""
    parts = part.new_empty((grid.size, *part.shape))
    torch.distributed.all_gather_into_tensor(parts.flatten(0, 1), part.contiguous(), group=grid.group)
    s, b, h = part.shape
    parts = parts.view(grid.y.size, grid.x.size, s, b, h).permute(1, 2, 3, 0, 4)
    return parts.reshape(grid.x.size * s, b, grid.y.size * h)


class Cut(torch.autograd.Function):
    """What all ranks have, with the gradient that all ranks have."""

    @staticmethod
    def forward(ctx: Any, whole: Tensor, grid: Grid) -> Tensor:
        ctx.grid = grid
        return cut(whole, grid)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return put_together(grad, ctx.grid), None


class PutTogether(torch.autograd.Function):
    """The other way: what follows is the same on all ranks, and so is its gradient."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, grid: Grid) -> Tensor:
        ctx.grid = grid
        return put_together(part, grid)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return cut(grad, ctx.grid), None
