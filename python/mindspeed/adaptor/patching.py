# SPDX-License-Identifier: Apache-2.0
"""What a feature is: a table of patches, and the plan made of all tables.

A target reads "package.module:Class.attribute". One target has at most one replacement; wrappers go
around it (or around the original) in the order of the features, the last one outermost.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from mindspeed.adaptor.errors import PatchError, VersionError
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.versions import distribution_of, installed_version, release, within


@dataclass(frozen=True, slots=True)
class Patch:
    """One attribute to replace.

    target   "package.module:attribute.path"; it must exist, or the import of the module fails.
    value    the new object; with `wraps` a function that is given the present object and returns the new one.
    requires a package that may be absent; the patch is left out without it.
    since    the first version of the target's distribution that has it; the patch is left out in earlier ones.
    until    the first version that has it no more; the patch is left out from there on.
    """

    target: str
    value: Any
    wraps: bool = field(default=False, kw_only=True)
    requires: str = field(default="", kw_only=True)
    since: str = field(default="", kw_only=True)
    until: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        module, colon, path = self.target.partition(":")
        if not (module and colon and path):
            raise PatchError(f"patch target {self.target!r}: expected 'package.module:attribute.path'")
        if self.wraps and not callable(self.value):
            raise PatchError(f"patch target {self.target!r}: wraps=True needs a function, got {self.value!r}")
        self._check_versions()

    def _check_versions(self) -> None:
        try:
            bounds = [release(text) for text in (self.since, self.until) if text]
        except VersionError as error:
            raise PatchError(f"patch target {self.target!r}: since and until: {error}") from None
        if bounds != sorted(set(bounds)):
            raise PatchError(
                f"patch target {self.target!r}: since={self.since!r} is not before until={self.until!r}"
            )

    def fits(self, version: Callable[[str], str | None]) -> bool:
        """Whether the installed version, which `version` tells of a distribution, is one of the patch's."""
        if not (self.since or self.until):
            return True
        distribution = distribution_of(self.module)
        found = version(distribution)
        if found is None:
            raise PatchError(
                f"patch target {self.target!r} is for some versions of {distribution} only, "
                "and the version installed is not known"
            )
        return within(found, since=self.since, until=self.until)

    @property
    def module(self) -> str:
        return self.target.partition(":")[0]

    @property
    def path(self) -> str:
        return self.target.partition(":")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """A named set of patches that is on or off as a whole."""

    name: str
    level: Level
    patches: tuple[Patch, ...]


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

    def add(self, feature: str, patch: Patch) -> None:
        if patch.wraps:
            self.wrappers.append((feature, patch))
            return
        if self.replacement is not None:
            raise PatchError(
                f"{self.target} is replaced by feature {self.replacement[0]!r} and by feature {feature!r}; "
                "one of them must wrap it or be switched off"
            )
        self.replacement = (feature, patch)

    def build(self, present: Any) -> Any:
        """The object to put in place of `present`."""
        value = self.replacement[1].value if self.replacement else present
        for _, patch in self.wrappers:
            value = patch.value(value)
        return value


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
    for feature in sorted(features, key=lambda f: (f.level, f.name)):
        for patch in feature.patches:
            if not patch.fits(known) or (patch.requires and not exists(patch.requires)):
                continue
            stack = plan.setdefault(patch.module, {}).setdefault(patch.path, Stack(patch.target))
            stack.add(feature.name, patch)
    return plan
