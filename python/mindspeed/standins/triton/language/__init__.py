# SPDX-License-Identifier: Apache-2.0
"""The language of kernels: its words are annotations and default values outside a kernel, and mean nothing here."""

from __future__ import annotations

from typing import Any

from mindspeed.standins.refusal import RefusedError


class Word:
    """tl.anything, tl.anything.more; only a kernel could use it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Word:
        if name.startswith("__"):
            raise AttributeError(name)
        return Word(f"{self._name}.{name}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RefusedError(self._name, "It belongs into a Triton kernel, and kernels do not run here")

    def __repr__(self) -> str:
        return self._name


class constexpr:
    """An argument known when a kernel is compiled; code also wraps module constants in it."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __index__(self) -> int:
        return int(self.value)


def __getattr__(name: str) -> Word:
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return Word(f"{__name__}.{name}")
