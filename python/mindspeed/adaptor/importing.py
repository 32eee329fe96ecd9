# SPDX-License-Identifier: Apache-2.0
"""Run a callback right after a module's body, before anyone can copy a name out of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol


def find_spec(name: str, path: Sequence[str] | None, *, without: object = None) -> ModuleSpec | None:
    """The spec that the import system would use, not asking the finder `without`."""
    for finder in list(sys.meta_path):
        if finder is without or not hasattr(finder, "find_spec"):
            continue
        spec = finder.find_spec(name, path, None)
        if spec is not None:
            return spec
    return None


def _walk(name: str, without: object) -> tuple[bool, Sequence[str] | None]:
    """(whether the module exists, its search path if it is a package), without importing its parents."""
    path: Sequence[str] | None = None
    prefix = ""
    for part in name.split("."):
        if prefix and path is None:
            return False, None  # the parent is a plain module
        prefix = f"{prefix}.{part}" if prefix else part
        loaded = sys.modules.get(prefix)
        if loaded is not None:
            path = getattr(loaded, "__path__", None)
            continue
        try:
            spec = find_spec(prefix, path, without=without)
        except KeyError:
            # A namespace package whose parent is not imported: Python asks the parent and does not find it.
            path = [str(folder) for base in path or () if (folder := Path(base) / part).is_dir()]
            continue
        except ModuleNotFoundError:
            return False, None  # a finder that says why there is none
        if spec is None:
            return False, None
        locations = spec.submodule_search_locations
        # A namespace package computes its path from its imported parent; its plain list needs none.
        path = None if locations is None else list(getattr(locations, "_path", locations))
    return True, path


def module_exists(name: str, *, without: object = None) -> bool:
    """Whether a module can be imported."""
    return _walk(name, without)[0]


def locate(package: str) -> list[Path]:
    """The folders of a package, empty if there is none."""
    return [Path(folder) for folder in _walk(package, None)[1] or ()]


class Finder(Protocol):
    """A meta path finder that puts itself on sys.meta_path and takes itself off."""

    def install(self) -> None: ...

    def remove(self) -> None: ...


class AfterExec(Loader):
    """A loader that calls `after(module)` when the real loader has run the module's body."""

    def __init__(self, real: Any, after: Callable[[ModuleType], None]) -> None:
        self._real = real
        self._after = after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._real.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # Readers of source and resources look at these attributes: they find the real loader.
        module.__loader__ = self._real
        if module.__spec__ is not None:
            module.__spec__.loader = self._real
        self._real.exec_module(module)
        self._after(module)


class PostImportFinder(MetaPathFinder):
    """Calls `after(module)` whenever one of `names` is imported."""

    def __init__(self, names: Collection[str], after: Callable[[ModuleType], None]) -> None:
        self._after = after
        self.watch(names)

    def watch(self, names: Collection[str]) -> None:
        """Watch for other modules than before."""
        self._names = frozenset(names)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self._names:
            return None
        spec = find_spec(fullname, path, without=self)
        if spec is not None and spec.loader is not None:
            spec.loader = AfterExec(spec.loader, self._after)
        return spec

    def install(self) -> None:
        sys.meta_path.insert(0, self)

    def remove(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)
