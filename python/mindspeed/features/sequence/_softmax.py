# SPDX-License-Identifier: Apache-2.0
"""Attention to some of the keys, and to all of them from its parts: maxima and sums of the parts' softmax say how much each counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch_npu
from torch import Tensor

Rows: TypeAlias = slice | Tensor  # some of the rows, in order, each once

_LEAST, _MOST = torch.finfo(torch.float32).min, torch.finfo(torch.float32).max


@dataclass(slots=True)
class Result:
    """[s, b, h * d], and of each softmax [b, h, s, 8]; packed [t, h, d] and [t, h, 8]."""

    out: Tensor
    most: Tensor
    total: Tensor

    def _at(self, which: Rows) -> tuple[Rows, ...]:
        return (slice(None), slice(None), which) if self.most.dim() == 4 else (which,)

    def rows(self, which: Rows) -> Result:
        at = self._at(which)
        return Result(self.out[which].contiguous(), self.most[at].contiguous(), self.total[at].contiguous())

    def write(self, which: Rows, other: Result) -> None:
        at = self._at(which)
        self.out[which] = other.out
        self.most[at] = other.most
        self.total[at] = other.total


def merged(one: Result, other: Result) -> Result:
    """Written out. Rows that see no key have the least maximum and the largest sum, as the operator gives them, and their
    sums must not be added up."""
    most = torch.maximum(one.most, other.most)
    base = torch.where(most <= _LEAST, 0.0, most)
    parts = [
        torch.where(part.most <= _LEAST, 0.0, part.total) * torch.exp(part.most - base)
        for part in (one, other)
    ]
    total = parts[0] + parts[1]
    shares = [torch.where(total > 0, part / total, 0.0)[..., :1] for part in parts]
    total = torch.where(total > 0, total, _MOST)
    if most.dim() == 4:
        shares = [share.permute(2, 0, 1, 3) for share in shares]
    by_heads = [part.out.float().view(*shares[0].shape[:-1], -1) for part in (one, other)]
    out = by_heads[0] * shares[0] + by_heads[1] * shares[1]
    return Result(out.view(one.out.shape).to(one.out.dtype), most, total)


def merged_by_operator(one: Result, other: Result) -> Result:
    return Result(
        *torch_npu.npu_ring_attention_update(
            one.out, one.most, one.total, other.out, other.most, other.total, input_layout="SBH"
        )
    )
