# SPDX-License-Identifier: Apache-2.0
"""Other names of a patched object.

`from m import f` copies a reference, so replacing `m.f` alone is not enough. Names at module level are
rebound here, whatever they are called; what a module keeps elsewhere (a base class, a default argument,
a class attribute, a table) cannot be replaced safely and is reported instead.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any

# A framework's own modules keep their references: only its public names are redirected.
FRAMEWORKS = frozenset({"torch", "torch_npu", "torchgen", "functorch", "mindspeed"})

# id(old object) -> (old object, new object)
Replacements = dict[int, tuple[Any, Any]]


def root_of(name: str) -> str:
    return name.partition(".")[0]


def loaded_modules(*, frameworks: bool) -> Iterator[tuple[str, ModuleType]]:
    """Loaded modules that may hold a copy: all but the frameworks', or all but our own."""
    for name, module in list(sys.modules.items()):
        root = root_of(name)
        skipped = root == "mindspeed" or (not frameworks and root in FRAMEWORKS)
        if isinstance(module, ModuleType) and not skipped:
            yield name, module


def can_have_aliases(value: Any, patched_module: str) -> bool:
    """Whether other names of the object mean the thing that is patched.

    Identity says something only for functions and classes; None, numbers and strings are shared. And what the
    patched module itself took from a framework (`from torch.optim import AdamW as Adam`) is anybody's.
    """
    if not callable(value):
        return False
    origin = root_of(getattr(value, "__module__", None) or "")
    return origin not in FRAMEWORKS or origin == root_of(patched_module)


def module_aliases(replacements: Replacements) -> Iterator[tuple[ModuleType, str, Any, Any]]:
    """(module, name, old, new) for each module-level name of an old object outside the frameworks."""
    for _, module in loaded_modules(frameworks=False):
        for name, value in list(vars(module).items()):
            found = replacements.get(id(value))
            if found is not None and found[0] is value:
                yield module, name, found[0], found[1]


def hidden_references(package: str, replacements: Replacements) -> Iterator[str]:
    """Places below `package` that keep an old object and cannot be rebound; a wrapper may keep what it wraps."""
    wrappers = {id(new) for _, new in replacements.values()}

    def old(value: Any) -> bool:
        found = replacements.get(id(value))
        return found is not None and found[0] is value

    for name, module in loaded_modules(frameworks=True):
        if root_of(name) != package:
            continue
        for attribute, value in list(vars(module).items()):
            if getattr(value, "__module__", name) != name or id(value) in wrappers:
                continue  # reported by the module that defines it
            for place in _places(value, old):
                yield f"{name}.{attribute} ({place})"


def _places(value: Any, old: Callable[[Any], bool]) -> Iterator[str]:
    if isinstance(value, type):
        yield from ("base class" for base in value.__bases__ if old(base))
        for name, member in list(vars(value).items()):
            if old(member):
                yield f"class attribute {name}"
            elif isinstance(member, FunctionType):
                yield from (f"{place} of method {name}" for place in _function_places(member, old))
    elif isinstance(value, FunctionType):
        yield from _function_places(value, old)
    elif isinstance(value, dict):
        yield from ("table" for item in list(value.values()) if old(item))
    elif isinstance(value, (list, tuple, set)):
        yield from ("table" for item in list(value) if old(item))


def _function_places(function: FunctionType, old: Callable[[Any], bool]) -> Iterator[str]:
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    yield from ("default argument" for value in defaults if old(value))
    for cell in function.__closure__ or ():
        try:
            kept = cell.cell_contents
        except ValueError:  # a cell that is not filled yet
            continue
        if old(kept):
            yield "closure"
