# SPDX-License-Identifier: Apache-2.0
"""Linear layers, which are Megatron's over the stand-in."""

from megatron.core.extensions.transformer_engine import TEColumnParallelLinear, TERowParallelLinear

__all__ = ["TEColumnParallelLinear", "TERowParallelLinear"]
