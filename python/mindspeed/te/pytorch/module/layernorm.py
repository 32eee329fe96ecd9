# SPDX-License-Identifier: Apache-2.0
"""The norm, which is that of the stand-in."""

from transformer_engine.pytorch import LayerNorm as MindSpeedTELayernorm

__all__ = ["MindSpeedTELayernorm"]
