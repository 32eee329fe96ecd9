# SPDX-License-Identifier: Apache-2.0
"""Decorators around kernels; nothing is tuned, since nothing runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mindspeed.standins.refusal import missing_attribute

from .jit import KernelInterface

__getattr__ = missing_attribute(__name__)


class OutOfResources(Exception):
    """For code that catches it."""


class Config:
    """One choice of sizes."""

    def __init__(
        self,
        kwargs: dict[str, Any],
        num_warps: int = 4,
        num_stages: int = 3,
        num_ctas: int = 1,
        **options: Any,
    ) -> None:
        self.kwargs = kwargs
        self.num_warps = num_warps
        self.num_stages = num_stages
        self.num_ctas = num_ctas


class Autotuner(KernelInterface):
    """A kernel with choices."""

    def __init__(self, fn: Any) -> None:
        self.fn = getattr(fn, "fn", fn)


class Heuristics(Autotuner):
    """A kernel with computed arguments."""


def autotune(configs: Any = None, key: Any = None, **options: Any) -> Callable[[Any], Autotuner]:
    return Autotuner


def heuristics(values: Any) -> Callable[[Any], Heuristics]:
    return Heuristics
