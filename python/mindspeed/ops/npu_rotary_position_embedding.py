# SPDX-License-Identifier: Apache-2.0
"""Rotary position embedding of one tensor (aclnnRotaryPositionEmbedding, with gradient)."""

from __future__ import annotations

import torch
import torch_npu

__all__ = ["npu_rotary_position_embedding"]
_MODES = ("half", "interleave")


def npu_rotary_position_embedding(
    x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, mode: int = 0
) -> torch.Tensor:
    """x * cos + turned(x) * sin.

    x         [a, b, c, d], float32, bfloat16 or float16; d is even.
    cos, sin  four dimensions that x broadcasts, d the last one; the type of x.
    mode      0: number i turns with number i + d/2; 1: neighbours turn together.
    """
    if mode not in (0, 1):
        raise ValueError(f"npu_rotary_position_embedding: mode is {mode!r}, wanted 0 (halves) or 1 (pairs)")
    result: torch.Tensor = torch_npu.npu_rotary_mul(x, cos, sin, rotary_mode=_MODES[mode])
    return result
