# SPDX-License-Identifier: Apache-2.0
"""Megatron's small fused functions run as they are written.

Megatron decorates them with torch.compile, whose code generators (inductor with Triton or a C++ compiler)
know nothing of NPUs. Results are the same, each function costs a few operators more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch


def run_as_written(function: Callable[..., Any]) -> Callable[..., Any]:
    """In place of Megatron's jit_fuser."""
    return function


FEATURE = Feature(
    name="jit-fuser",
    level=Level.COMPATIBILITY,
    patches=(Patch("megatron.core.jit:jit_fuser", run_as_written),),
)
