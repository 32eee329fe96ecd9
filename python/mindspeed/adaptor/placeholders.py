# SPDX-License-Identifier: Apache-2.0
"""Modules that stand in for ones that are not installed, for patches that put something into them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from importlib.machinery import ModuleSpec
from types import ModuleType

from mindspeed.adaptor.importing import module_exists


class Placeholders:
    """The empty modules that one plan needs. A module that exists is never touched."""

    def __init__(self) -> None:
        self._made: dict[str, ModuleType] = {}

    def make(self, name: str) -> None:
        """The module and the packages above it, those that exist by their import."""
        for path in _prefixes(name):
            if path in sys.modules:
                continue
            if module_exists(path):
                importlib.import_module(path)
            else:
                self._add(path)

    def keep_only(self, needed: Iterable[str]) -> None:
        """Take away those that none of the names lies in."""
        kept = {path for name in needed for path in _prefixes(name)}
        for path in [path for path in reversed(self._made) if path not in kept]:
            self._remove(path, self._made.pop(path))

    def _add(self, path: str) -> None:
        module = ModuleType(path, "Stands in for a module that is not installed.")
        module.__spec__ = ModuleSpec(path, None, is_package=True)
        module.__path__ = []
        sys.modules[path] = self._made[path] = module
        parent, _, name = path.rpartition(".")
        if parent:
            setattr(sys.modules[parent], name, module)

    def _remove(self, path: str, module: ModuleType) -> None:
        """Somebody else's module of the name stays."""
        parent, _, name = path.rpartition(".")
        if sys.modules.get(path) is module:
            del sys.modules[path]
        holder = sys.modules.get(parent)
        if holder is not None and vars(holder).get(name) is module:
            delattr(holder, name)


def _prefixes(name: str) -> list[str]:
    """ "a", "a.b", "a.b.c"."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


def missing_function(target: str) -> object:
    """What stands for an attribute that does not exist."""

    def missing(*args: object, **kwargs: object) -> object:
        raise RuntimeError(
            f"{target} does not exist; a placeholder was asked for, and it was called (in the original's words: "
            f"function {target} no exist)"
        )

    return missing
