# SPDX-License-Identifier: Apache-2.0
"""Patches that other projects register by name: MindSpeedPatchesManager.

A target is written with dots, "megatron.core.utils.divide" or "torch.compile": the longest prefix that is a module, then
attributes. A function whose name ends in wrapper or decorator is given what is there and returns the new object; any
other object takes the place. Nothing happens before apply_patches(); the patches then lie around those of all features,
and revert() and remove_patches() undo them to the last attribute.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from mindspeed.adaptor import patching, session
from mindspeed.adaptor.errors import PatchError
from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.importing import module_exists
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.placeholders import missing_function
from mindspeed.adaptor.plan import name_of

__all__ = ["MindSpeedPatchesManager", "Patch", "is_megatron_training_available"]

_WRAPPING = ("wrapper", "decorator")
_MARK = "__stands_in__"  # on a module that exists only because a patch asked for it


@cache
def is_megatron_training_available() -> bool:
    """Whether megatron.training is there; megatron-core can be installed without it."""
    return module_exists("megatron.training")


def _wraps(function: Any) -> bool:
    return getattr(function, "__name__", "").endswith(_WRAPPING)


class Patch:
    """Everything registered for one target."""

    def __init__(self, orig_func_name: str, new_func: Any, create_dummy: bool) -> None:
        self.target = orig_func_name
        module, _, name = orig_func_name.rpartition(".")
        self.orig_module_name = module or orig_func_name
        self.orig_func_name = name if module else None
        self.orig_module: Any = None
        self.orig_func: Any = None
        self.patch_func: Any = None
        self.wrappers: list[Callable[[Any], Any]] = []
        self.create_dummy = create_dummy
        self._forced = self._is_removed = False
        self._place: tuple[str, str] | None = None
        self.set_patch_func(new_func)

    def set_patch_func(self, new_func: Any = None, force_patch: bool = False) -> None:
        """One more wrapper, or the replacement; without a function one that raises when it is called."""
        if self._is_removed:
            self.patch_func, self._forced, self._is_removed = None, False, False
        if _wraps(new_func):
            if new_func not in self.wrappers:
                self.wrappers.append(new_func)
            return
        if new_func is None:
            new_func = missing_function(self.target)
        if self.patch_func not in (None, new_func) and not force_patch:
            raise PatchError(
                f"{self.target} is replaced by {name_of(self.patch_func)} already, and {name_of(new_func)} is to "
                "replace it as well: give force_patch=True to take its place, or wrap it with a function whose name "
                f"ends in _wrapper (in the original's words: the patch of {self.target.rpartition('.')[2]} exist !)"
            )
        self.patch_func = new_func
        self._forced = self._forced or force_patch

    @property
    def is_applied(self) -> bool:
        """Whether what is registered is in effect as it is."""
        made = _in_effect().get(self)
        return bool(made) and [patch.value for patch in made or ()] == self._values()

    @property
    def final_patch_func(self) -> Any:
        """What is in the target's place while the patch is applied, else None."""
        return getattr(self.orig_module, self.orig_func_name or "", None) if self.is_applied else None

    def apply_patch(self) -> None:
        """Put it in place, whatever else is registered."""
        self._is_removed = False
        _put({**_in_effect(), self: self.made()})

    def remove_patch(self) -> None:
        """Take it away until apply_patch() or another registration."""
        self._is_removed = True
        _put({record: made for record, made in _in_effect().items() if record is not self})

    def remove_wrappers(self, wrapper_names: str | Iterable[str] | None = None) -> None:
        """All wrappers, or those of these names; it takes effect with the next apply_patches()."""
        names = {wrapper_names} if isinstance(wrapper_names, str) else wrapper_names
        kept = [] if names is None else [w for w in self.wrappers if w.__name__ not in set(names)]
        self.wrappers[:] = kept

    def forget(self) -> None:
        """As if nothing had been registered."""
        self.patch_func, self._forced, self._is_removed = None, False, False
        self.wrappers.clear()

    def made(self) -> tuple[patching.Patch, ...]:
        """As the session takes it."""
        if self._is_removed or not self._values():
            return ()
        if self._place is None:
            self._place = _place(self.target, create=self.create_dummy)
        module, path = self._place
        if not path:
            return () if _is_installed(module) else (patching.Patch(f"{module}:{_MARK}", True, creates=True),)
        return tuple(
            patching.Patch(
                f"{module}:{path}",
                value,
                wraps=wraps,
                overrides=self._forced,
                creates=self.create_dummy,
                lenient=True,
            )
            for value, wraps in [(self.patch_func, False), *((wrapper, True) for wrapper in self.wrappers)]
            if value is not None
        )

    def remember_original(self, patch: patching.Patch) -> None:
        """What was there before the patch."""
        self.orig_func = session.original(patch)
        self.orig_module = sys.modules[patch.module]
        for name in patch.path.split(".")[:-1]:
            self.orig_module = getattr(self.orig_module, name)

    def _values(self) -> list[Any]:
        return ([] if self.patch_func is None else [self.patch_func]) + list(self.wrappers)


def _place(target: str, *, create: bool) -> tuple[str, str]:
    """(module, attribute path): the longest prefix that is a module, or that must be made as one."""
    parts = target.split(".")
    if len(parts) == 1:
        return target, ""
    end = next((n for n in range(len(parts) - 1, 0, -1) if _is_module(".".join(parts[:n]))), 0)
    if create and not (end and _has(".".join(parts[:end]), parts[end:-1])):
        end = len(parts) - 1
    elif not end:
        raise PatchError(f"patch target {target}: there is no module {parts[0]}")
    return ".".join(parts[:end]), ".".join(parts[end:])


def _is_module(name: str) -> bool:
    return name in sys.modules or module_exists(name)


def _has(module: str, path: list[str]) -> bool:
    """Whether the attributes exist, one inside the other."""
    value: Any = importlib.import_module(module) if path else None
    for name in path:
        if not hasattr(value, name):
            return False
        value = getattr(value, name)
    return True


def _is_installed(name: str) -> bool:
    """Whether a module exists, not counting one that stands here for it."""
    return _is_module(name) and not hasattr(sys.modules.get(name), _MARK)


Made = dict[Patch, tuple[patching.Patch, ...]]
# What the session was given last, and what it was made of.
_given: tuple[Feature | None, Made] = (None, {})


def _in_effect() -> Made:
    """Nothing any more after revert()."""
    feature, made = _given
    return made if feature is not None and session.registered() is feature else {}


def _put(made: Made) -> None:
    """Bring exactly these into effect. Their modules are imported, so a target that does not exist is found now."""
    global _given
    patches = tuple(patch for every in made.values() for patch in every)
    feature = Feature(
        name="registered-patches", level=Level.COMPATIBILITY, patches=patches, is_outermost=True
    )
    before = session.registered()
    session.register(feature)
    try:
        for patch in patches:
            importlib.import_module(patch.module)
    except BaseException:
        session.register(before)
        raise
    _given = (feature, made)
    for record, every in made.items():
        if every:
            record.remember_original(every[0])


class MindSpeedPatchesManager:
    """Patches by target. All methods belong to the class: there is one set in a process."""

    patches_info: dict[str, Patch] = {}  # noqa: RUF012  (the interface is the class itself)

    @staticmethod
    def register_patch(
        orig_func_name: str, new_func: Any = None, force_patch: bool = False, create_dummy: bool = False
    ) -> None:
        """Register; apply_patches() makes it so.

        A second replacement of one target is a PatchError unless force_patch is true, which also takes the place of a
        feature's. With create_dummy a target that does not exist is made for as long as the patch is applied.
        """
        record = MindSpeedPatchesManager.patches_info.get(orig_func_name)
        if record is None:
            record = Patch(orig_func_name, new_func, create_dummy)
            record._forced = force_patch
            MindSpeedPatchesManager.patches_info[orig_func_name] = record
        else:
            record.set_patch_func(new_func, force_patch)
            record.create_dummy = record.create_dummy or create_dummy

    @staticmethod
    def apply_patches() -> None:
        """Bring everything registered into effect, or on an error nothing of what is new."""
        records = MindSpeedPatchesManager.patches_info.values()
        _put({**_in_effect(), **{record: record.made() for record in records}})

    @staticmethod
    def remove_patches() -> None:
        """Undo all patches and forget what was registered; the records stay."""
        records = MindSpeedPatchesManager.patches_info.values()
        for record in records:
            record.forget()
        _put({record: made for record, made in _in_effect().items() if record not in records})

    @staticmethod
    def remove_wrappers(
        orig_func_name: str, wrappers_name: str | Iterable[str] | None, remove_check: bool = True
    ) -> None:
        """Forget wrappers of a target by name, None: all; with remove_check it is an error if there are none."""
        record = MindSpeedPatchesManager.patches_info.get(orig_func_name)
        if record is None:
            raise ValueError(f"remove_wrappers: nothing is registered for {orig_func_name}")
        count = len(record.wrappers)
        record.remove_wrappers(wrappers_name)
        if remove_check and len(record.wrappers) == count:
            names = [wrappers_name] if isinstance(wrappers_name, str) else wrappers_name
            named = f" named {', '.join(names)}" if names else ""
            raise RuntimeError(f"remove_wrappers: {orig_func_name} has no wrapper{named}")
