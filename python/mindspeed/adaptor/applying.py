# SPDX-License-Identifier: Apache-2.0
"""Put a plan in place, change it and take it back.

Modules that are loaded are patched at once, the others right after their body has run. Everything that
is written is recorded, so revert() restores the very objects, and a failure half-way undoes what was done.
"""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from mindspeed import absent
from mindspeed.adaptor import references
from mindspeed.adaptor.errors import ImportOrderError, PatchError
from mindspeed.adaptor.importing import Finder, PostImportFinder, module_exists
from mindspeed.adaptor.placeholders import Placeholders, missing_function
from mindspeed.adaptor.plan import Plan, Stack
from mindspeed.adaptor.versions import describe_version

_log = logging.getLogger("mindspeed.adaptor")
_ABSENT: Any = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One attribute that was written: `before` is absent where the owner only inherited it.

    module and path name the target it was written for.
    """

    module: str
    path: str
    owner: Any
    name: str
    before: Any
    after: Any
    # What was found there, inherited or not.
    original: Any = None
    is_alias: bool = False
    # The new object exists for this patch only, so every name that has it was copied from here.
    is_fresh: bool = False

    @property
    def where(self) -> str:
        return (
            f"{getattr(self.owner, '__qualname__', getattr(self.owner, '__name__', self.owner))}.{self.name}"
        )

    def undo(self) -> bool:
        """Whether the attribute still was ours; somebody else's object stays."""
        if vars(self.owner).get(self.name, _ABSENT) is not self.after:
            return False
        if self.before is _ABSENT:
            delattr(self.owner, self.name)
        else:
            setattr(self.owner, self.name, self.before)
        return True


# (module, attribute path) of a target
Target = tuple[str, str]


class Applier:
    """The state of one applied plan."""

    def __init__(self, plan: Plan, finders: Sequence[Finder] = ()) -> None:
        self._plan = plan
        self._finders = finders
        self._changes: list[Change] = []
        self._finder = PostImportFinder(self._plan, self._on_import)
        self._placeholders = Placeholders()

    @property
    def changes(self) -> tuple[Change, ...]:
        return tuple(self._changes)

    def original(self, module: str, path: str) -> Any:
        """What a target was before its patches; None if it is not patched (yet)."""
        for change in self._changes:
            if (change.module, change.path, change.is_alias) == (module, path, False):
                return change.original
        return None

    def apply(self) -> None:
        """Patch what is loaded, watch for the rest; on an error nothing stays patched."""
        for finder in self._finders:
            finder.install()
        try:
            self._find_modules(self._plan)
            self._finder.install()
            self._apply_loaded(_targets(self._plan))
        except BaseException:
            self.revert()
            raise

    def change_to(self, plan: Plan) -> None:
        """Go to another plan. Targets whose patches stay are not touched; on an error the present plan stays."""
        present = self._plan
        differing = _differing(present, plan)
        try:
            self._find_modules(plan)
        except BaseException:
            self._placeholders.keep_only(present)
            raise
        try:
            self._switch(plan, differing)
        except BaseException:
            self._switch(present, differing)
            raise

    def revert(self) -> None:
        """Restore every attribute; raises afterwards if something had been overwritten by others."""
        self._finder.remove()
        try:
            self._undo(_targets(self._plan))
        finally:
            for finder in self._finders:
                finder.remove()
            self._placeholders.keep_only(())

    def _switch(self, plan: Plan, targets: set[Target]) -> None:
        self._undo(targets)
        self._plan = plan
        self._finder.watch(plan)
        self._apply_loaded(targets)
        self._placeholders.keep_only(plan)

    def _apply_loaded(self, targets: set[Target]) -> None:
        for name in [n for n in self._plan if n in sys.modules]:
            self._apply_module(sys.modules[name], targets)

    def _undo(self, targets: set[Target]) -> None:
        undone = [change for change in self._changes if (change.module, change.path) in targets]
        self._changes = [change for change in self._changes if (change.module, change.path) not in targets]
        kept = [change for change in reversed(undone) if not change.undo()]
        self._rebind_back([change for change in undone if not change.is_alias])
        overwritten = [change.where for change in kept if not change.is_alias]
        if overwritten:
            raise PatchError(
                f"not restored, because somebody replaced them after us: {', '.join(overwritten)}"
            )

    def _find_modules(self, plan: Plan) -> None:
        """Each module must exist, unless a patch makes it."""
        for name, stacks in plan.items():
            if name in sys.modules or module_exists(name, without=self._finder):
                continue
            stack = next(iter(stacks.values()))
            if any(stack.creates for stack in stacks.values()):
                self._placeholders.make(name)
            else:
                raise PatchError(
                    f"patch target {stack.target} (feature {stack.owners}): "
                    + (absent.sentence(name) or f"there is no module {name} in {describe_version(name)}")
                )

    def _on_import(self, module: ModuleType) -> None:
        # A module that is run again (importlib.reload) has its originals back.
        self._changes = [change for change in self._changes if change.module != module.__name__]
        self._apply_module(module, _targets(self._plan))

    def _apply_module(self, module: ModuleType, targets: set[Target]) -> None:
        """Apply those of the module's patches whose target is asked for."""
        replaced: references.Replacements = {}
        paths: dict[int, str] = {}
        for path, stack in self._plan[module.__name__].items():
            if (module.__name__, path) not in targets:
                continue
            owner, name = _resolve(module, path, stack)
            before, present, after = _build(owner, name, stack)
            setattr(owner, name, after)
            self._changes.append(
                Change(
                    module=module.__name__, path=path, owner=owner, name=name, before=before, after=after,
                    original=present, is_fresh=stack.is_fresh and before is not after,
                )
            )  # fmt: skip
            shared = isinstance(owner, ModuleType) and not stack.is_local
            if shared and references.can_have_aliases(present, module.__name__):
                replaced[id(present)] = (present, after)
                paths[id(present)] = path
        self._rebind(module, replaced, paths)
        stacks = self._plan[module.__name__]
        strict = {key: pair for key, pair in replaced.items() if not stacks[paths[key]].is_lenient}
        if strict:
            _check_nothing_is_hidden(module.__name__, strict)
        _tell_what_is_hidden({key: pair for key, pair in replaced.items() if key not in strict})

    def _rebind(self, module: ModuleType, replaced: references.Replacements, paths: dict[int, str]) -> None:
        if not replaced:
            return  # looking through everything that is loaded takes 20 ms or more
        for holder, name, before, after in references.module_aliases(replaced):
            setattr(holder, name, after)
            self._changes.append(
                Change(
                    module=module.__name__, path=paths[id(before)], owner=holder, name=name, before=before,
                    after=after, is_alias=True,
                )
            )  # fmt: skip

    def _rebind_back(self, changes: list[Change]) -> None:
        """Names copied while the patches were on. Of an object that others use as well, only those that read as the
        patched one, and not where it is defined."""
        back: references.Replacements = {}
        shared: dict[int, dict[str, Any]] = {}
        for change in changes:
            if change.before is _ABSENT or not isinstance(change.owner, ModuleType):
                continue
            if change.is_fresh or callable(change.after):
                back[id(change.after)] = (change.after, change.before)
            if not change.is_fresh:
                shared.setdefault(id(change.after), {})[change.name] = change.before
        if not back:
            return
        for holder, name, after, before in references.module_aliases(back):
            names = shared.get(id(after))
            if names is None:
                setattr(holder, name, before)
            elif name in names and holder.__name__ != getattr(after, "__module__", None):
                setattr(holder, name, names[name])


def _targets(plan: Plan) -> set[Target]:
    return {(module, path) for module, stacks in plan.items() for path in stacks}


def _differing(one: Plan, other: Plan) -> set[Target]:
    """Targets whose patches differ between two plans, and what lies below them."""
    every = _targets(one) | _targets(other)
    found = {(m, p) for m, p in every if one.get(m, {}).get(p) != other.get(m, {}).get(p)}
    below = {(m, p) for m, p in every if any(m == n and p.startswith(f"{q}.") for n, q in found)}
    return found | below


def _tell_what_is_hidden(replaced: references.Replacements) -> None:
    places = sorted(set(references.hidden_references("megatron", replaced))) if replaced else []
    if places:
        _log.warning("these keep what registered patches replaced: %s", "; ".join(places))


def _check_nothing_is_hidden(module: str, replaced: references.Replacements) -> None:
    places = sorted(set(references.hidden_references("megatron", replaced)))
    if not places:
        return
    listed = "; ".join(places[:5]) + (" ..." if len(places) > 5 else "")
    if all(place.startswith(f"{module}.") for place in places):
        raise PatchError(
            f"{module} itself keeps what is replaced in it: {listed}. Patch these places as well."
        )
    raise ImportOrderError(
        f"{module} was imported before its patches could be applied, and these keep what should be "
        f"replaced: {listed}. Put `import torch; import mindspeed.megatron_adaptor` before the first import of megatron; "
        "a feature that is switched on later patches these places as well."
    )


def _resolve(module: ModuleType, path: str, stack: Stack) -> tuple[Any, str]:
    """The object that holds the attribute, and the attribute's name; both must exist, unless the patch makes the latter."""
    *parents, name = path.split(".")
    owner: Any = module
    for parent in parents:
        owner = _attribute(owner, parent, stack)
    if not stack.creates:
        _attribute(owner, name, stack)
    return owner, name


def _attribute(owner: Any, name: str, stack: Stack) -> Any:
    try:
        return inspect.getattr_static(owner, name)
    except AttributeError:
        holder = getattr(owner, "__qualname__", None) or getattr(owner, "__name__", owner)
        root = references.root_of(stack.target)
        raise PatchError(
            f"patch target {stack.target} (feature {stack.owners}): {holder} has no attribute {name!r} in "
            f"{describe_version(root)}"
        ) from None


def _build(owner: Any, name: str, stack: Stack) -> tuple[Any, Any, Any]:
    """(entry of the owner's dictionary or absent, present object, new object), descriptors kept in kind."""
    before = vars(owner).get(name, _ABSENT)
    present = inspect.getattr_static(owner, name, _ABSENT)
    if present is _ABSENT:
        present = missing_function(stack.target)
    kind = type(present) if isinstance(present, (staticmethod, classmethod)) else None
    value = stack.build(present.__func__ if kind else present)
    if kind and not isinstance(value, (staticmethod, classmethod)):
        value = kind(value)
    return before, present, value
