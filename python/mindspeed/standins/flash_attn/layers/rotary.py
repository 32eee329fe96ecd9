# SPDX-License-Identifier: Apache-2.0
"""Rotary positions from tables of half the size."""

from __future__ import annotations

import torch

from mindspeed.standins.refusal import RefusedError, missing_attribute

__getattr__ = missing_attribute(__name__)


def apply_rotary_emb(
    x: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    interleaved: bool = False,
    inplace: bool = False,
    seqlen_offsets: int | torch.Tensor = 0,
    cu_seqlens: torch.Tensor | None = None,
    max_seqlen: int | None = None,
) -> torch.Tensor:
    """x [b,s,h,d], cos and sin [s or more, r/2]; the first r dimensions are turned."""
    if cu_seqlens is not None:
        raise RefusedError("apply_rotary_emb(cu_seqlens=...)")
    places = torch.arange(x.shape[1], device=x.device)
    if isinstance(seqlen_offsets, torch.Tensor):
        places = seqlen_offsets.to(x.device).unsqueeze(1) + places
    else:
        places = (places + seqlen_offsets).unsqueeze(0)
    size = 2 * cos.shape[1]
    turning, rest = x[..., :size], x[..., size:]
    cos, sin = (table[places].unsqueeze(2).to(x.dtype) for table in (cos, sin))
    if interleaved:
        first, second = turning[..., ::2], turning[..., 1::2]
        turned = torch.stack((first * cos - second * sin, first * sin + second * cos), dim=-1).flatten(-2)
    else:
        first, second = turning.chunk(2, dim=-1)
        turned = torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1)
    out = torch.cat((turned, rest), dim=-1)
    return x.copy_(out) if inplace else out
