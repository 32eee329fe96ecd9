# SPDX-License-Identifier: Apache-2.0
"""Functions that a module runs on its own import, unless somebody wants the module without that."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

__all__ = ["AutoExecuteFunction", "NoExecuteFunction"]


class AutoExecuteFunction:
    """A function whose calls do nothing within NoExecuteFunction."""

    AUTO_EXECUTE = True

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs) if AutoExecuteFunction.AUTO_EXECUTE else None


class NoExecuteFunction:
    """`with NoExecuteFunction(): import ...`"""

    def __enter__(self) -> None:
        AutoExecuteFunction.AUTO_EXECUTE = False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        AutoExecuteFunction.AUTO_EXECUTE = True
