# SPDX-License-Identifier: Apache-2.0
"""The environment variables that MindSpeed reads or speaks of, as the library's table has them.

The table is src/base/hc_option.h and nowhere else: names, types and meanings are asked of libascendcl, and a value
is valid if the library's own check says so. Loading it starts nothing.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from mindspeed.cann.decision import root


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One variable. `expected` says what is valid; `readers` who reads it, separated by commas."""

    number: int
    name: str
    readers: str
    type: str
    expected: str
    default: str
    meaning: str

    def value(self, environment: Mapping[str, str]) -> str:
        return environment.get(self.name, "") or self.default

    def is_set(self, environment: Mapping[str, str]) -> bool:
        return bool(environment.get(self.name, ""))

    def problem(self, environment: Mapping[str, str]) -> str | None:
        """Why the value is refused, as aclInit would say it."""
        library = _library()
        value = environment.get(self.name, "").encode("utf-8", "surrogateescape")
        if library.hc_option_check(self.number, value) == 0:
            return None
        return str(library.hc_error_text().decode("utf-8", "replace"))


@cache
def _library() -> ctypes.CDLL:
    """libascendcl has the table; libhccl adds what it knows of algorithms."""
    library = ctypes.CDLL(str(root() / "lib64" / "libascendcl.so"))
    for name in ("env_name", "readers", "type", "expected", "default", "meaning"):
        getattr(library, f"hc_option_{name}").restype = ctypes.c_char_p
    library.hc_error_text.restype = ctypes.c_char_p
    ctypes.CDLL(str(root() / "lib64" / "libhccl.so"))
    return library


@cache
def table() -> tuple[Option, ...]:
    library = _library()

    def ask(what: str, number: int) -> str:
        return str(getattr(library, f"hc_option_{what}")(number).decode())

    return tuple(
        Option(
            number=number,
            name=ask("env_name", number),
            readers=ask("readers", number),
            type=ask("type", number),
            expected=ask("expected", number),
            default=ask("default", number),
            meaning=ask("meaning", number),
        )
        for number in range(library.hc_option_count())
    )


def misspelt(environment: Mapping[str, str]) -> dict[str, str | None]:
    """Variables that look like options and are none: the name that was meant, None if none is near."""
    found: dict[str, str | None] = {}
    for name in sorted(environment):
        meant = _library().hc_option_meant(name.encode("utf-8", "surrogateescape"))
        if meant != -1:
            found[name] = table()[meant].name if meant >= 0 else None
    return found


def problems(environment: Mapping[str, str]) -> list[str]:
    """Every value that is refused and every name that is misspelt, a sentence each."""
    found = [problem for option in table() if (problem := option.problem(environment))]
    for name, meant in misspelt(environment).items():
        found.append(f"{name} is no option and has no effect" + (f"; did you mean {meant}?" if meant else ""))
    return found
