# SPDX-License-Identifier: Apache-2.0
"""Linear layers of experts, which are Megatron's over the stand-in: one grouped product, whatever the number of experts."""

from megatron.core.extensions.transformer_engine import (
    TEColumnParallelGroupedLinear as MindSpeedTEColumnParallelGroupedLinear,
)
from megatron.core.extensions.transformer_engine import TEGroupedLinear as MindSpeedTEGroupedLinear
from megatron.core.extensions.transformer_engine import (
    TERowParallelGroupedLinear as MindSpeedTERowParallelGroupedLinear,
)

__all__ = [
    "MindSpeedTEColumnParallelGroupedLinear",
    "MindSpeedTEGroupedLinear",
    "MindSpeedTERowParallelGroupedLinear",
]
