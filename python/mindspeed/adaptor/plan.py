# SPDX-License-Identifier: Apache-2.0
"""The plan made of the tables of patches of all features.

One target has at most one replacement; wrappers go around it (or around the original) in the order of the features,
the last one outermost. What programs register by code comes after all features.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from mindspeed.adaptor.errors import PatchError
from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.patching import Patch
from mindspeed.adaptor.versions import installed_version


@dataclass(slots=True)
class Stack:
    """All patches of one target."""

    target: str
    replacement: tuple[str, Patch] | None = None
    wrappers: list[tuple[str, Patch]] = field(default_factory=list)

    @property
    def owners(self) -> str:
        """The features that touch the target, for messages."""
        names = [self.replacement[0]] if self.replacement else []
        return ", ".join(names + [name for name, _ in self.wrappers])

    @property
    def is_fresh(self) -> bool:
        """Whether the new object is made for this patch: nobody else can know it."""
        if self.wrappers or self.replacement is None:
            return True
        module = getattr(self.replacement[1].value, "__module__", None) or ""
        return module.partition(".")[0] == "mindspeed"

    @property
    def creates(self) -> bool:
        """Whether the target is made if it does not exist."""
        return any(patch.creates for patch in self._patches())

    @property
    def is_lenient(self) -> bool:
        """Whether all that touches the target may leave references to the old object."""
        return all(patch.lenient for patch in self._patches())

    @property
    def is_local(self) -> bool:
        """Whether all that touches the target means this name and no other one of the object."""
        return all(patch.local for patch in self._patches())

    def _patches(self) -> list[Patch]:
        return [patch for _, patch in ([self.replacement] if self.replacement else []) + self.wrappers]

    def add(self, feature: str, patch: Patch) -> None:
        if patch.wraps:
            self.wrappers.append((feature, patch))
            return
        if self.replacement is not None and not patch.overrides:
            other, first = self.replacement
            raise PatchError(
                f"{self.target} is replaced by feature {other!r} and by feature {feature!r} "
                f"({name_of(first.value)} and {name_of(patch.value)}); one of them must wrap it, override the "
                "other one or be switched off"
            )
        self.replacement = (feature, patch)

    def build(self, present: Any) -> Any:
        """The object to put in place of `present`."""
        value = self.replacement[1].value if self.replacement else present
        for _, patch in self.wrappers:
            value = patch.value(value)
        return value


def name_of(value: Any) -> str:
    """A function or class for messages: "package.module.name"; anything else as it prints."""
    name = getattr(value, "__qualname__", None)
    return f"{getattr(value, '__module__', None) or 'builtins'}.{name}" if name else repr(value)


Plan = dict[str, dict[str, Stack]]


def make_plan(
    features: Iterable[Feature],
    exists: Callable[[str], bool],
    version: Callable[[str], str | None] = installed_version,
) -> Plan:
    """module -> attribute path -> patches; raises on two features that replace the same target.

    `exists` tells whether an optional package is there (see Patch.requires), `version` which one of a distribution.
    """
    plan: Plan = {}
    known = functools.cache(version)
    for feature in sorted(features, key=lambda f: (f.is_outermost, f.level, f.name)):
        for patch in feature.patches:
            if not patch.fits(known) or (patch.requires and not exists(patch.requires)):
                continue
            stack = plan.setdefault(patch.module, {}).setdefault(patch.path, Stack(patch.target))
            stack.add(feature.name, patch)
    return plan
