# SPDX-License-Identifier: Apache-2.0
"""Transformer Engine, Apex, flash-attn, grouped_gemm, mamba_ssm and Triton can be imported where they are not installed.

Megatron takes its default paths only with them. See mindspeed/standins and docs/standins.md.
"""

from __future__ import annotations

from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.levels import Level
from mindspeed.standins.finder import StandInFinder

FEATURE = Feature(name="standins", level=Level.COMPATIBILITY, finders=(StandInFinder(),))
