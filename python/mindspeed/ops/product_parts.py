# SPDX-License-Identifier: Apache-2.0
"""Products next to a collective, cut by rows into parts: the collective of one part is on its way while another is computed.

    gathered    all gathers start at once; a part is multiplied when it is there, while the others still come
    scattered   a part's product is summed and scattered while the next part is multiplied
    summed      the same with an all-reduce

A part has the same rows of every rank, so what a collective brings lies apart in the whole and is put there: one copy
of the result (gathered) or of the input (scattered) is what cutting costs. Rows do not meet in a product: each has the
bits that it has in the whole one.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributed import Work


def bounds(rows: int, parts: int) -> list[tuple[int, int]]:
    """As even as can be; fewer parts where there are fewer rows."""
    parts = max(1, min(parts, rows))
    return [(rows * part // parts, rows * (part + 1) // parts) for part in range(parts)]


def start_gather(part: Tensor, size: int, group: object) -> tuple[Tensor, Work]:
    """[rows, ...] of each rank -> [ranks * rows, ...], to be waited for."""
    whole = part.new_empty((size * part.shape[0], *part.shape[1:]))
    return whole, torch.distributed.all_gather_into_tensor(
        whole, part.contiguous(), group=group, async_op=True
    )


def start_scatter(whole: Tensor, part: Tensor, group: object) -> Work:
    """part = this rank's part of the sum of all ranks' `whole`."""
    return torch.distributed.reduce_scatter_tensor(part, whole.contiguous(), group=group, async_op=True)


def gathered(
    part: Tensor, matrix: Tensor, size: int, group: object, parts: int, keep: bool
) -> tuple[Tensor, Tensor | None]:
    """gather(part) @ matrix, and gather(part) if it is to be kept."""
    cut = bounds(part.shape[0], parts)
    arriving = [start_gather(part[begin:end], size, group) for begin, end in cut]
    if len(arriving) == 1:
        ((whole, work),) = arriving
        work.wait()
        return torch.matmul(whole, matrix), whole if keep else None
    product = part.new_empty((size, *part.shape[:-1], matrix.shape[1]))
    kept = part.new_empty((size, *part.shape)) if keep else None
    for (begin, end), (rows, work) in zip(cut, arriving, strict=True):
        work.wait()
        shape = (size, end - begin, *part.shape[1:-1])
        product[:, begin:end].copy_(torch.matmul(rows, matrix).view(*shape, -1))
        if kept is not None:
            kept[:, begin:end].copy_(rows.view(*shape, -1))
    return product.flatten(0, 1), None if kept is None else kept.flatten(0, 1)


def scattered(whole: Tensor, matrix: Tensor, size: int, group: object, parts: int) -> Tensor:
    """This rank's part of the sum over the ranks of whole @ matrix."""
    rows = whole.shape[0] // size
    of_ranks = whole.reshape(size, rows, *whole.shape[1:])
    part = whole.new_empty((rows, *whole.shape[1:-1], matrix.shape[1]))
    leaving = []
    for begin, end in bounds(rows, parts):
        product = torch.matmul(of_ranks[:, begin:end].flatten(0, 1), matrix)
        leaving.append(start_scatter(product, part[begin:end], group))
    for work in leaving:
        work.wait()
    return part


def summed(x: Tensor, matrix: Tensor, group: object, parts: int) -> Tensor:
    """The sum over the ranks of x @ matrix."""
    total = x.new_empty((*x.shape[:-1], matrix.shape[1]))
    leaving = []
    for begin, end in bounds(x.shape[0], parts):
        torch.matmul(x[begin:end], matrix, out=total[begin:end])
        leaving.append(torch.distributed.all_reduce(total[begin:end], group=group, async_op=True))
    for work in leaving:
        work.wait()
    return total
