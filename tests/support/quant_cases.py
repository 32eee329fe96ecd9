# SPDX-License-Identifier: Apache-2.0
"""What tests of quantising operators share: int4 in int32, and rounding to a range."""

from __future__ import annotations

import torch

INT8, INT4 = (-128, 127), (-8, 7)
FLOATS = (torch.float32, torch.bfloat16, torch.float16)


def pack(x: torch.Tensor) -> torch.Tensor:
    """int4 values, eight in an int32 along the last dimension, the first in the lowest bits."""
    wide = (x.to(torch.int64) & 15).unflatten(-1, (-1, 8))
    words = (wide << (4 * torch.arange(8))).sum(-1)
    return torch.where(words >= 2**31, words - 2**32, words).to(torch.int32)


def unpack(x: torch.Tensor) -> torch.Tensor:
    nibbles = (x.to(torch.int64).unsqueeze(-1) >> (4 * torch.arange(8))) & 15
    return torch.where(nibbles > 7, nibbles - 16, nibbles).flatten(-2).to(torch.int8)


def to_range(x: torch.Tensor, limits: tuple[int, int]) -> torch.Tensor:
    """Rounded to nearest, ties to even; what is not a number is 0."""
    return x.nan_to_num(0.0, float("inf"), -float("inf")).round().clamp(*limits).to(torch.int32)
