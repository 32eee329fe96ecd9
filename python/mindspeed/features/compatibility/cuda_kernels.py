# SPDX-License-Identifier: Apache-2.0
"""Megatron-LM does not compile its CUDA kernels at start: there is no CUDA compiler, and nothing here calls them.

They went with Megatron 0.17.
"""

from __future__ import annotations

from typing import Any

from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch


def load(args: Any) -> None:
    """In place of the compilation; the softmax these kernels hold is PyTorch's (feature torch-softmax)."""


FEATURE = Feature(
    name="cuda-kernels",
    level=Level.COMPATIBILITY,
    patches=(Patch("megatron.legacy.fused_kernels:load", load, requires="megatron.legacy", until="0.17.0"),),
)
