# SPDX-License-Identifier: Apache-2.0
"""Norms that are one operator."""

from __future__ import annotations

from mindspeed.standins.refusal import missing_attribute

from .fused_layer_norm import FusedLayerNorm, FusedRMSNorm, MixedFusedLayerNorm, MixedFusedRMSNorm

__all__ = ["FusedLayerNorm", "FusedRMSNorm", "MixedFusedLayerNorm", "MixedFusedRMSNorm"]

__getattr__ = missing_attribute(__name__)
