# SPDX-License-Identifier: Apache-2.0
"""Heads against sequence: a rank with a part of the sequence and all heads gets all of it and a part of the heads.

Ranks hold two chunks of the sequence each, rank r the r-th and the r-th from the end. What a rank gets is in the order
of the sequence.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributed import ProcessGroup


def _all_to_all(x: Tensor, group: ProcessGroup) -> Tensor:
    """[ranks, ...]: slice r goes to rank r, and comes from there."""
    out = torch.empty_like(x)
    torch.distributed.all_to_all_single(out, x, group=group)
    return out


def _heads_for_sequence(part: Tensor, group: ProcessGroup) -> Tensor:
    s, b, h, d = part.shape
    size = group.size()
    sent = part.view(s, b, size, h // size, d).permute(2, 0, 1, 3, 4).contiguous()
    got = _all_to_all(sent, group).view(size, 2, s // 2, b, h // size, d)
    return torch.cat([got[:, 0], got[:, 1].flip(0)]).view(size * s, b, h // size, d)


def _sequence_for_heads(whole: Tensor, group: ProcessGroup) -> Tensor:
    size = group.size()
    length, b, h, d = whole.shape
    chunks = whole.view(2, size, length // (2 * size), b, h, d)
    sent = torch.stack([chunks[0], chunks[1].flip(0)], dim=1)
    got = _all_to_all(sent, group).view(size, length // size, b, h, d)
    return got.permute(1, 2, 0, 3, 4).reshape(length // size, b, size * h, d)


class _ToSequence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, group: ProcessGroup) -> Tensor:
        ctx.group = group
        return _heads_for_sequence(part.contiguous(), group)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _sequence_for_heads(gradient.contiguous(), ctx.group), None


class _ToHeads(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, whole: Tensor, group: ProcessGroup) -> Tensor:
        ctx.group = group
        return _sequence_for_heads(whole.contiguous(), group)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _heads_for_sequence(gradient.contiguous(), ctx.group), None


def to_sequence(part: Tensor, group: ProcessGroup) -> Tensor:
    """[s, b, h, d] -> [ranks * s, b, h / ranks, d]"""
    result: Tensor = _ToSequence.apply(part, group)
    return result


def to_heads(whole: Tensor, group: ProcessGroup) -> Tensor:
    """[ranks * s, b, h, d] -> [s, b, ranks * h, d]"""
    result: Tensor = _ToHeads.apply(whole, group)
    return result
