# SPDX-License-Identifier: Apache-2.0
"""Megatron's attention takes the softmax of PyTorch: the fused one is a CUDA extension of Apex.

Masked softmax fusion is on by default; Megatron imports the extension as soon as the shapes fit it.
"""

from __future__ import annotations

from typing import Any

from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch


def is_kernel_available(self: Any, mask: Any, b: int, np: int, sq: int, sk: int) -> bool:
    """Never: Megatron then calls its forward_torch_softmax."""
    return False


FEATURE = Feature(
    name="torch-softmax",
    level=Level.COMPATIBILITY,
    patches=(
        Patch(
            "megatron.core.fusions.fused_softmax:FusedScaleMaskSoftmax.is_kernel_available",
            is_kernel_available,
        ),
    ),
)
