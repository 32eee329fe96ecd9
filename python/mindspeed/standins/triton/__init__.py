# SPDX-License-Identifier: Apache-2.0
"""MindSpeed's stand-in for Triton: code that defines kernels can be imported, calling one is refused by name.

PyTorch must go on knowing that it cannot compile with Triton. It remembers its answers; what it has not asked for yet, it is
made to ask now, while the name is hidden.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from mindspeed.standins.refusal import missing_attribute
from mindspeed.standins.versions import reported_version


def _let_torch_look_first() -> None:
    me = sys.modules[__name__]
    sys.modules[__name__] = None  # type: ignore[assignment]  # import then says ModuleNotFoundError
    try:
        importlib.import_module("torch._inductor.runtime.triton_compat")
    finally:
        sys.modules[__name__] = me


_let_torch_look_first()

from . import language, runtime  # noqa: E402  (torch must look before)
from .runtime.autotuner import Autotuner, Config, autotune, heuristics  # noqa: E402
from .runtime.jit import JITFunction, KernelInterface, jit  # noqa: E402

__all__ = [
    "Autotuner",
    "Config",
    "JITFunction",
    "KernelInterface",
    "__version__",
    "autotune",
    "cdiv",
    "heuristics",
    "jit",
    "language",
    "next_power_of_2",
    "runtime",
]

__version__ = reported_version("triton")
__getattr__: Any = missing_attribute(__name__)


def cdiv(x: int, y: int) -> int:
    """x / y, rounded up."""
    return -(-x // y)


def next_power_of_2(n: int) -> int:
    """The smallest power of two that is not below n."""
    return 1 if n <= 1 else 1 << (n - 1).bit_length()
