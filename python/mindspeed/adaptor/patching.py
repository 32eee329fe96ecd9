# SPDX-License-Identifier: Apache-2.0
"""One attribute to replace. A target reads "package.module:Class.attribute"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mindspeed.adaptor.errors import PatchError, VersionError
from mindspeed.adaptor.versions import distribution_of, release, within


@dataclass(frozen=True, slots=True)
class Patch:
    """One attribute to replace.

    target   "package.module:attribute.path"; it must exist, or the import of the module fails.
    value    the new object; with `wraps` a function that is given the present object and returns the new one.
    requires a package that may be absent; the patch is left out without it.
    since    the first version of the target's distribution that has it; the patch is left out in earlier ones.
    until    the first version that has it no more; the patch is left out from there on.
    versions_of  the distribution that since and until mean, where it is not the target's.
    overrides  takes the place of another feature's replacement instead of being refused.
    lenient  a place that keeps the old object and cannot be rebound is a warning, not an error.
    local    this name alone: others of the same object, in other modules, go on meaning the old one.
    creates  what does not exist is made for as long as the patch is on: the modules, and the attribute.
    """

    target: str
    value: Any
    wraps: bool = field(default=False, kw_only=True)
    requires: str = field(default="", kw_only=True)
    since: str = field(default="", kw_only=True)
    until: str = field(default="", kw_only=True)
    versions_of: str = field(default="", kw_only=True)
    overrides: bool = field(default=False, kw_only=True)
    creates: bool = field(default=False, kw_only=True)
    lenient: bool = field(default=False, kw_only=True)
    local: bool = field(default=False, kw_only=True)

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
        distribution = self.distribution
        found = version(distribution)
        if found is None:
            raise PatchError(
                f"patch target {self.target!r} is for some versions of {distribution} only, "
                "and the version installed is not known"
            )
        return within(found, since=self.since, until=self.until)

    @property
    def distribution(self) -> str:
        """Whose versions since and until are."""
        return self.versions_of or distribution_of(self.module)

    @property
    def module(self) -> str:
        return self.target.partition(":")[0]

    @property
    def path(self) -> str:
        return self.target.partition(":")[2]
