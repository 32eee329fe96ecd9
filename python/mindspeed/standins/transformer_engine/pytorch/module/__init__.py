# SPDX-License-Identifier: Apache-2.0
"""The layers."""

from __future__ import annotations

from mindspeed.standins.refusal import missing_attribute

from . import base
from .base import destroy_ub, initialize_ub
from .fp8_padding import Fp8Padding, Fp8Unpadding
from .grouped_linear import GroupedLinear
from .layernorm import LayerNorm
from .layernorm_linear import LayerNormLinear
from .linear import Linear
from .rmsnorm import RMSNorm

__all__ = [
    "Fp8Padding",
    "Fp8Unpadding",
    "GroupedLinear",
    "LayerNorm",
    "LayerNormLinear",
    "Linear",
    "RMSNorm",
    "base",
    "destroy_ub",
    "initialize_ub",
]

__getattr__ = missing_attribute(__name__)
