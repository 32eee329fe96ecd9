# SPDX-License-Identifier: Apache-2.0
"""Rows of experts filled up to a multiple of a number, as in the stand-in."""

from transformer_engine.pytorch import Fp8Padding, Fp8Unpadding

__all__ = ["Fp8Padding", "Fp8Unpadding"]
