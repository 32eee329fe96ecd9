# SPDX-License-Identifier: Apache-2.0
"""Transformer Engine's fuser of operations: code may name its classes, building one is refused."""

from __future__ import annotations

from mindspeed.standins.refusal import missing_attribute, refused_class

ADVICE = "Leave out --use-transformer-engine-op-fuser"

# What Megatron names, some of it while its modules are imported (a table of activations in 0.14).
_NAMES = (
    "AllReduce BasicLinear Bias FusibleOperation GEGLU GELU LayerNorm Linear RMSNorm ReGLU ReLU ReduceScatter "
    "Sequential SiLU SwiGLU"
).split()
globals().update({name: refused_class(f"{__name__}.{name}", ADVICE) for name in _NAMES})

__getattr__ = missing_attribute(__name__)
