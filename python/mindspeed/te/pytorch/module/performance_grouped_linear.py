# SPDX-License-Identifier: Apache-2.0
"""Linear layers of experts, which are Megatron's over the stand-in: one grouped product, whatever the number of experts."""

from megatron.core.extensions.transformer_engine import (
    TEColumnParallelGroupedLinear as MindSpeedTEPerformanceColumnParallelGroupedLinear,
)
from megatron.core.extensions.transformer_engine import TEGroupedLinear as MindSpeedTEPerformanceGroupedLinear
from megatron.core.extensions.transformer_engine import (
    TERowParallelGroupedLinear as MindSpeedTEPerformanceRowParallelGroupedLinear,
)

__all__ = [
    "MindSpeedTEPerformanceColumnParallelGroupedLinear",
    "MindSpeedTEPerformanceGroupedLinear",
    "MindSpeedTEPerformanceRowParallelGroupedLinear",
]
