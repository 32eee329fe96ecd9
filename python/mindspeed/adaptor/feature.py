# SPDX-License-Identifier: Apache-2.0
"""What a feature is: a name, a level, flags, rules and patches, all in one file.

The file is features/<area>/<name>.py; its page is docs/features/<name>.md and its test tests/python/features/test_<name>.py.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from typing import Any

from mindspeed.adaptor.flags import Flag
from mindspeed.adaptor.importing import Finder
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch
from mindspeed.adaptor.versions import release

Arguments = Any  # Megatron's namespace, or one that repatch() fills


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Another feature that cannot be on at the same time."""

    feature: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Something that must be there as well: a flag of Megatron, or another feature.

    feature  the feature that must be on, whose switch is `flag`; it may be on without being asked for.
    holds    whether it is there; by default that the flag's value is true.
    """

    flag: str
    why: str
    feature: str = ""
    holds: Callable[[Arguments], bool] | None = None

    def is_met(self, args: Arguments, on: Container[str] = ()) -> bool:
        """`on`: names of the features that are on."""
        if self.feature:
            return self.feature in on
        if self.holds is not None:
            return self.holds(args)
        return bool(getattr(args, self.flag.split()[0].lstrip("-").replace("-", "_"), False))


@dataclass(frozen=True, slots=True, kw_only=True)
class Native:
    """Megatron Core's own way of doing the same, which runs from a release on. The feature's patches say their releases themselves.

    since     the first release that has it.
    flag      Megatron's, for messages.
    adjust    sets Megatron's arguments, before Megatron validates them; as `check`, instead of the feature's.
    """

    since: str
    flag: str
    adjust: Callable[[Arguments], None]
    check: Callable[[Arguments], Iterable[str]]

    def is_in(self, core: str | None) -> bool:
        """Whether that release of Megatron Core has it; None: there is no Megatron Core."""
        return core is not None and release(core) >= release(self.since)


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """A named set of patches that is on or off as a whole.

    summary   one sentence for the plan and the docs: the first line of the file's docstring.
    area      the folder. Both are filled in when the feature is found.
    flags     the first one is the switch. A feature without flags is on from its level on; a switch with a
              negative as well, unless it is switched off; another switch is off until it is given.
    switch    decides instead, where one flag is not enough.
    conflicts, needs  rules that are checked when the feature is on, before anything is patched.
    check     yields further problems, a sentence each.
    adjust    sets arguments before Megatron validates them, when the feature is on.
    finders   are put in front of the import system before the first patches, and taken away after the last: for features
              that are on without arguments.
    is_outermost  its patches go around those of all others, whatever the level.
    until     the first release of Megatron Core that it is not for: on with that one or a later one is an error.
    native    from where on Megatron does it itself.
    """

    name: str
    level: Level
    summary: str = ""
    area: str = ""
    flags: tuple[Flag, ...] = ()
    switch: Callable[[Arguments], bool] | None = None
    conflicts: tuple[Conflict, ...] = ()
    needs: tuple[Need, ...] = ()
    check: Callable[[Arguments], Iterable[str]] | None = None
    adjust: Callable[[Arguments], None] | None = None
    patches: tuple[Patch, ...] = ()
    finders: tuple[Finder, ...] = ()
    is_outermost: bool = False
    until: str = ""
    native: Native | None = None

    @property
    def is_permanent(self) -> bool:
        """Whether it is on before any argument is known."""
        return self.level == Level.COMPATIBILITY and not self.flags and self.switch is None

    @property
    def flag(self) -> Flag | None:
        """The switch, for messages."""
        return self.flags[0] if self.flags else None

    @property
    def title(self) -> str:
        """'feature swap-optimizer (--swap-optimizer)'."""
        return f"feature {self.name} ({self.flags[0].name})" if self.flags else f"feature {self.name}"

    def wants(self, args: Arguments) -> bool:
        """Whether the arguments ask for it, whatever the level."""
        if self.switch is not None:
            return self.switch(args)
        if not self.flags:
            return True
        value = self.flags[0].value(args)
        return True if value is None and self.flags[0].negative else bool(value)
