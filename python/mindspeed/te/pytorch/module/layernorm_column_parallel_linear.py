# SPDX-License-Identifier: Apache-2.0
"""A norm and a linear layer, which are Megatron's over the stand-in. Frozen weights get no gradient by themselves."""

from megatron.core.extensions.transformer_engine import (
    TELayerNormColumnParallelLinear as MindSpeedTELayerNormColumnParallelLinear,
)

__all__ = ["MindSpeedTELayerNormColumnParallelLinear"]
