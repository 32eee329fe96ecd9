# SPDX-License-Identifier: Apache-2.0
"""Attention, which is Megatron's over the stand-in: the fused operator, all masks and layouts, context parallelism."""

from megatron.core.extensions.transformer_engine import (
    TEDotProductAttention as MindSpeedTEDotProductAttention,
)
from transformer_engine.pytorch import DotProductAttention

__all__ = ["DotProductAttention", "MindSpeedTEDotProductAttention"]
