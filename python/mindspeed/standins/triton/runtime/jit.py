# SPDX-License-Identifier: Apache-2.0
"""What @triton.jit makes of a function."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from mindspeed.standins.refusal import RefusedError, missing_attribute

__getattr__ = missing_attribute(__name__)


class KernelInterface:
    """kernel[grid](arguments) is how kernels are started."""

    fn: Any

    def run(self, *args: Any, **kwargs: Any) -> Any:
        name = f"{getattr(self.fn, '__module__', '?')}.{getattr(self.fn, '__qualname__', self.fn)}"
        raise RefusedError(
            f"the Triton kernel {name}",
            "Triton compiles for GPUs; switch off the option that calls it (a fused operation, mostly)",
        )

    def __getitem__(self, grid: Any) -> Callable[..., Any]:
        return self.run

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.run()


class JITFunction(KernelInterface):
    """A kernel."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn
        functools.update_wrapper(self, fn)


def jit(fn: Callable[..., Any] | None = None, **options: Any) -> Any:
    """As a decorator with or without options."""
    return JITFunction if fn is None else JITFunction(fn)
