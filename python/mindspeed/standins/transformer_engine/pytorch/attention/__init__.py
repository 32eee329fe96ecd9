# SPDX-License-Identifier: Apache-2.0
"""Attention and rotary positions."""

from __future__ import annotations

from typing import Any

import torch

from mindspeed.standins.refusal import missing_attribute

from . import rope
from .dot_product import DotProductAttention
from .rope import apply_rotary_pos_emb

__all__ = ["DotProductAttention", "_SplitAlongDim", "apply_rotary_pos_emb", "rope"]

__getattr__ = missing_attribute(__name__)


class _SplitAlongDim:
    """torch.split under the name by which Megatron calls it."""

    @staticmethod
    def apply(tensor: torch.Tensor, dim: int, sizes: Any) -> tuple[torch.Tensor, ...]:
        """Views."""
        return torch.split(tensor, sizes, dim=dim)
