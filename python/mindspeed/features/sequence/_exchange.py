# SPDX-License-Identifier: Apache-2.0
"""Heads against sequence: a rank with a part of the sequence and all heads gets all of it and a part of the heads.

Ranks hold two chunks of the sequence each, rank r the r-th and the r-th from the end. What a rank gets is in the order
of the sequence; of packed sequences, which are shared so one by one, `order` says where their tokens are. Keys and values
may be gathered instead, with all of their heads, and brought again for the backward pass instead of being kept.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from mindspeed.features.sequence._packed import Order
from mindspeed.ops._results import not_a_view


def _all_to_all(x: Tensor, group: ProcessGroup) -> Tensor:
    """[ranks, ...]: slice r goes to rank r, and comes from there."""
    out = torch.empty_like(x)
    torch.distributed.all_to_all_single(out, x, group=group)
    return out


def _heads_for_sequence(part: Tensor, group: ProcessGroup, order: Order | None) -> Tensor:
    s, b, h, d = part.shape
    size = group.size()
    sent = part.view(s, b, size, h // size, d).permute(2, 0, 1, 3, 4).contiguous()
    return _in_order(_all_to_all(sent, group), order)


def _in_order(parts: Tensor, order: Order | None) -> Tensor:
    """[ranks, s, ...] -> [ranks * s, ...]"""
    size, s, *rest = parts.shape
    if order is not None:
        return parts.flatten(0, 1)[order.whole]
    chunks = parts.view(size, 2, s // 2, *rest)
    return torch.cat([chunks[:, 0], chunks[:, 1].flip(0)]).view(size * s, *rest)


def _as_parts(whole: Tensor, size: int, order: Order | None) -> Tensor:
    """[ranks * s, ...] -> [ranks, s, ...]"""
    length, *rest = whole.shape
    if order is not None:
        return whole[order.parts].view(size, length // size, *rest)
    chunks = whole.view(2, size, length // (2 * size), *rest)
    return torch.stack([chunks[0], chunks[1].flip(0)], dim=1).view(size, length // size, *rest)


def _sequence_for_heads(whole: Tensor, group: ProcessGroup, order: Order | None) -> Tensor:
    size = group.size()
    length, b, h, d = whole.shape
    got = _all_to_all(_as_parts(whole, size, order), group)
    return got.permute(1, 2, 0, 3, 4).reshape(length // size, b, size * h, d)


class _ToSequence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, group: ProcessGroup, order: Order | None) -> Tensor:
        ctx.group, ctx.order = group, order
        return not_a_view(_heads_for_sequence(part.contiguous(), group, order))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _sequence_for_heads(gradient.contiguous(), ctx.group, ctx.order), None, None


class _ToHeads(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, whole: Tensor, group: ProcessGroup, order: Order | None) -> Tensor:
        ctx.group, ctx.order = group, order
        return not_a_view(_sequence_for_heads(whole.contiguous(), group, order))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _heads_for_sequence(gradient.contiguous(), ctx.group, ctx.order), None, None


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, group: ProcessGroup, order: Order | None) -> Tensor:
        ctx.group, ctx.order = group, order
        parts = part.new_empty(group.size(), *part.shape)
        torch.distributed.all_gather_into_tensor(parts, part.contiguous(), group=group)
        return not_a_view(_in_order(parts, order))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        parts = _as_parts(gradient.contiguous(), ctx.group.size(), ctx.order)
        own = torch.empty_like(parts[0])
        torch.distributed.reduce_scatter_tensor(own, parts, group=ctx.group)
        return own, None, None


def to_sequence(part: Tensor, group: ProcessGroup, order: Order | None = None) -> Tensor:
    """[s, b, h, d] -> [ranks * s, b, h / ranks, d]"""
    result: Tensor = _ToSequence.apply(part, group, order)
    return result


def to_heads(whole: Tensor, group: ProcessGroup, order: Order | None = None) -> Tensor:
    """[ranks * s, b, h, d] -> [s, b, ranks * h, d]"""
    result: Tensor = _ToHeads.apply(whole, group, order)
    return result


def enough_heads(x: Tensor, size: int, refusal: str) -> Tensor:
    """Heads of keys or values [s, b, heads, d], repeated where there are fewer than ranks; a ValueError where neither divides."""
    heads = x.shape[2]
    if heads % size == 0:
        return x
    if size % heads:
        raise ValueError(refusal)
    return x.repeat_interleave(size // heads, dim=2)


def gathered(part: Tensor, group: ProcessGroup, order: Order | None = None) -> Tensor:
    """[s, b, h, d] -> [ranks * s, b, h, d]"""
    result: Tensor = _Gathered.apply(part, group, order)
    return result


def brought_again(
    parts: list[Tensor], wholes: list[Tensor], bring: Callable[[Tensor], Tensor]
) -> contextlib.AbstractContextManager[Any]:
    """What autograd would keep of a whole within the context is brought again from the rank's part when it is needed.
    All ranks need it at the same moments."""
    places = {
        (whole.data_ptr(), whole.numel()): part.detach() for part, whole in zip(parts, wholes, strict=True)
    }

    def pack(kept: Tensor) -> Any:
        part = places.get((kept.data_ptr(), kept.numel())) if kept.is_contiguous() else None
        return kept if part is None else (part, kept.shape)

    def unpack(kept: Any) -> Tensor:
        if isinstance(kept, Tensor):
            return kept
        part, shape = kept
        with torch.no_grad():
            return bring(part).view(shape)

    return torch.autograd.graph.saved_tensors_hooks(pack, unpack)
