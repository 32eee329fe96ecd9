# SPDX-License-Identifier: Apache-2.0
"""How a stand-in says no: the name asked for, who refuses, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

ADVICE = "docs/standins.md lists what is there; switch off the option that needs it"


class RefusedError(NotImplementedError):
    """Something the real package can do and its stand-in cannot."""

    def __init__(self, what: str, advice: str = ADVICE) -> None:
        super().__init__(f"{what} is not in MindSpeed's stand-in. {advice}.")


def missing_attribute(module: str) -> Callable[[str], Any]:
    """The module-level __getattr__ of a stand-in: `from module import name` then is an ImportError."""

    def __getattr__(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        raise AttributeError(f"{module}.{name} is not in MindSpeed's stand-in for this package. {ADVICE}.")

    return __getattr__


def refused_class(name: str, advice: str = ADVICE) -> type:
    """A class that code may name (in annotations, isinstance, as a base) but not construct."""

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        raise RefusedError(name, advice)

    return type(name.rpartition(".")[2], (), {"__init__": __init__, "__module__": name.rpartition(".")[0]})


def refused_function(name: str, advice: str = ADVICE) -> Callable[..., Any]:
    """A function that code may import but not call."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise RefusedError(name, advice)

    refuse.__name__ = refuse.__qualname__ = name.rpartition(".")[2]
    return refuse
