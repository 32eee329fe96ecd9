# SPDX-License-Identifier: Apache-2.0
"""The layer norm with a kernel that stays on the device."""

from __future__ import annotations

from mindspeed.standins.refusal import missing_attribute

from .layer_norm import FastLayerNorm, FastLayerNormFN

__all__ = ["FastLayerNorm", "FastLayerNormFN"]

__getattr__ = missing_attribute(__name__)
