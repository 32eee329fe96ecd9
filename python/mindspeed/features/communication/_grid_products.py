# SPDX-License-Identifier: Apache-2.0
"""Products of linear layers whose weight is cut in both directions over a grid of ranks, and their gradients.

f: what plain tensor parallelism gives a rank of the inner width (heads of q, k and v, width of the MLP), h: hidden size / y.

columns  [s/x, b, h] by w [y f, h]: rows of all ranks along x are gathered, each rank along y adds up its part of the hidden
         size, and the sums are scattered by inner width: [s, b, f].
rows     [s, b, f] by w [h, y f]: the inner width of all ranks along y is gathered, each rank along x adds up its part of it,
         and the sums are scattered by rows: [s/x, b, h].

Between the two a rank has the whole sequence and as many heads as with plain tensor parallelism, whatever the grid is, so
attention needs no exchange of its own. The gradient of one kind moves as the other does. Bytes that a rank receives for a
pass of both layers of an MLP of width F: (x-1)/x 2 s b H/y + (y-1)/y 2 s b F/x, where plain ranks get (t-1)/t 2 s b H.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mindspeed.features.communication._grid import (
    Grid,
    Side,
    arriving,
    gather,
    scatter,
    sent_as_made,
    start_gather,
    start_scatter,
)
from mindspeed.ops._results import not_a_view
from mindspeed.ops.parallel_linear import flatten, weight_gradient


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How products go: messages beside them, and where gradients of weights go."""

    grid: Grid
    gathers_beside: bool = False  # forward, of rows
    scatters_beside: bool = False  # forward, of columns
    gathers_gradients_beside: bool = False
    fuse_wgrad: bool = False


def side_by_side(parts: Tensor) -> Tensor:
    """[y, n, f] -> [n, y f]"""
    return parts[0] if len(parts) == 1 else parts.transpose(0, 1).flatten(1)


def _of(inner: Tensor, number: int, side: Side) -> Tensor:
    """The `number`-th part of a weight's inner width, which is its first dimension here."""
    size = inner.shape[0] // side.size
    return inner[number * size : (number + 1) * size]


def by_parts(left: Tensor, inner: Tensor, side: Side) -> Tensor:
    """[n, h] by w [y f, h] -> [y, n, f]: a part lies together, as it is sent."""
    size = inner.shape[0] // side.size
    found = left.new_empty((side.size, left.shape[0], size))
    for number, part in enumerate(found):
        torch.mm(left, _of(inner, number, side).t(), out=part)
    return found


def scattered_by_width(left: Tensor, inner: Tensor, side: Side, beside: bool) -> Tensor:
    """[n, h] by w [y f, h], summed over y -> [n, f]"""
    if not beside or side.size == 1:
        return scatter(by_parts(left, inner, side), side)
    return sent_as_made(lambda number: torch.mm(left, _of(inner, number, side).t()), side)


def gathered_by_width(part: Tensor, inner: Tensor, side: Side, beside: bool) -> tuple[Tensor, Tensor]:
    """[n, f] gathered over y, by w [y f, h] -> [n, h], and the gathered [y, n, f]"""
    if not beside or side.size == 1:
        whole = gather(part, side)
        return torch.mm(side_by_side(whole), inner), whole
    whole = part.new_empty((side.size, *part.shape))
    total = None
    for number in arriving(part, whole, side):
        matrix = _of(inner, number, side)
        total = torch.mm(whole[number], matrix) if total is None else total.addmm_(whole[number], matrix)
    assert total is not None  # this rank's own part is always there
    return total, whole


def _start_scatter_rows(product: Tensor, shape: torch.Size, side: Side) -> tuple[Tensor, Any]:
    """[n, h] summed over x -> rows of this rank, [s/x, b, h]"""
    rows = product.view(side.size, shape[0] // side.size, *shape[1:-1], product.shape[-1])
    return start_scatter(rows, side)


def _checked(x: Tensor, side: Side) -> Tensor:
    if x.shape[0] % side.size:
        raise ValueError(f"--tp-2d: a sequence of {x.shape[0]} is not divisible by --tp-x {side.size}")
    return x


class Columns(torch.autograd.Function):
    """x [s/x, b, h], w [y f, h] -> [s, b, f]"""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, way: Way) -> Tensor:
        ctx.way, ctx.weight = way, weight
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None)
        whole = gather(x, way.grid.x).flatten(0, 1)
        y = scattered_by_width(flatten(whole), weight, way.grid.y, way.scatters_beside)
        return not_a_view(y.view(*whole.shape[:-1], -1))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """The input comes while its gradient is computed, which leaves while the weight's is."""
        way, weight, (x,) = ctx.way, ctx.weight, ctx.saved_tensors
        needs_x, needs_weight = ctx.needs_input_grad[:2]
        whole_x, coming = start_gather(x, way.grid.x) if needs_weight else (None, None)
        grad_x = leaving = grad_weight = None
        if needs_x:
            product, grads = gathered_by_width(
                flatten(grad), weight, way.grid.y, way.gathers_gradients_beside
            )
            grad_x, leaving = _start_scatter_rows(product, grad.shape, way.grid.x)
        else:
            grads = gather(flatten(grad), way.grid.y)
        if coming is not None:
            coming.wait()
            grad_weight = weight_gradient(weight, side_by_side(grads), flatten(whole_x), way.fuse_wgrad)
        if leaving is not None:
            leaving.wait()
        return grad_x, grad_weight, None


class Rows(torch.autograd.Function):
    """x [s, b, f], w [h, y f] -> [s/x, b, h]"""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, way: Way) -> Tensor:
        ctx.way, ctx.weight = way, weight
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None)
        _checked(x, way.grid.x)
        product, _ = gathered_by_width(flatten(x), weight.t(), way.grid.y, way.gathers_beside)
        part, leaving = _start_scatter_rows(product, x.shape, way.grid.x)
        leaving.wait()
        return not_a_view(part)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        way, weight, (x,) = ctx.way, ctx.weight, ctx.saved_tensors
        needs_x, needs_weight = ctx.needs_input_grad[:2]
        side = way.grid.x
        whole_x, coming = start_gather(flatten(x), way.grid.y) if needs_weight else (None, None)
        grad_x = leaving = grad_weight = None
        if needs_x and way.gathers_gradients_beside and side.size > 1:
            parts, grads = _by_rows_and_parts(grad, weight, way.grid)
        else:
            grads = flatten(gather(grad, side).flatten(0, 1))
            parts = by_parts(grads, weight.t(), way.grid.y) if needs_x else None
        if parts is not None:
            grad_x, leaving = start_scatter(parts, way.grid.y)
        if coming is not None:
            coming.wait()
            grad_weight = weight_gradient(weight, grads, side_by_side(whole_x), way.fuse_wgrad)
        if leaving is not None:
            leaving.wait()
        shape = (grad.shape[0] * side.size, *grad.shape[1:-1], -1)
        return None if grad_x is None else grad_x.view(shape), grad_weight, None


def _by_rows_and_parts(grad: Tensor, weight: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """The gradient's rows of each rank along x are multiplied when they are there: [y, n, f], and the gathered [n, h]."""
    rows = flatten(grad)
    whole = rows.new_empty((grid.x.size, *rows.shape))
    size = weight.shape[1] // grid.y.size
    parts = rows.new_empty((grid.y.size, grid.x.size, rows.shape[0], size))
    for number in arriving(rows, whole, grid.x):
        for of, part in enumerate(parts[:, number]):
            torch.mm(whole[number], _of(weight.t(), of, grid.y).t(), out=part)
    return parts.flatten(1, 2), whole.flatten(0, 1)
