# SPDX-License-Identifier: Apache-2.0
"""Operators of the original's list that are not there: their names say so when they are called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn


def refused(name: str, instead: str) -> Callable[..., Any]:
    def operator(*args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(f"mindspeed.ops: {name} is not supported; {instead}")

    operator.__name__ = operator.__qualname__ = name
    operator.__doc__ = f"Not supported: {instead}."
    return operator
