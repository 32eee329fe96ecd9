# SPDX-License-Identifier: Apache-2.0
"""Recomputation that keeps neither what lies between nor the result, under the name that other projects import."""

from __future__ import annotations

from typing import Any

from mindspeed import absent
from mindspeed.core.tensor_parallel import random

__all__ = ["CheckpointWithoutOutput"]


class CheckpointWithoutOutput(random.CheckpointWithoutOutput):
    """Of random numbers Megatron's own tracker takes care."""

    def __init__(self, get_cuda_rng_tracker_func: Any = None) -> None:
        super().__init__()


__getattr__ = absent.attributes(
    __name__, {"should_recompute": "recomputation is chosen by flags and decides by itself for each layer"}
)
