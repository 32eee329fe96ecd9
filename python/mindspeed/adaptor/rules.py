# SPDX-License-Identifier: Apache-2.0
"""Which features are on, and what is wrong with the arguments. Nothing is patched while this is asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mindspeed.adaptor.feature import Arguments, Feature, Native
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.versions import installed_version, release


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A feature is on or off, and why."""

    feature: Feature
    on: bool
    reason: str


def choose(features: Iterable[Feature], args: Arguments, level: Level) -> list[Choice]:
    return [_choice(feature, args, level) for feature in features]


def _choice(feature: Feature, args: Arguments, level: Level) -> Choice:
    flag = feature.flag
    if feature.level > level:
        return Choice(feature=feature, on=False, reason=f"level {feature.level:d} is not active")
    wanted = feature.wants(args)
    if flag is None:
        reason = f"part of level {feature.level:d}" if wanted else "not asked for"
    elif flag.negative and flag.value(args) is None:
        reason = f"on by default from level {feature.level:d}" if wanted else "not asked for"
    elif wanted:
        native = by_megatron(feature)
        reason = f"{flag.name}, by Megatron's own {native.flag}" if native else flag.name
    else:
        reason = flag.negative if flag.negative else f"{flag.name} is not given"
    return Choice(feature=feature, on=wanted, reason=reason)


def problems(features: Iterable[Feature], args: Arguments, level: Level) -> list[str]:
    """Everything that is wrong, a sentence each, naming features, flags and what to do."""
    features = list(features)
    choices = choose(features, args, level)
    on = [choice.feature for choice in choices if choice.on]
    found: list[str] = []
    for feature in features:
        found.extend(_inactive(feature, args, level))
    found.extend(_conflicts(on))
    for feature in on:
        found.extend(_unmet(feature, args, choices))
        found.extend(too_new(feature))
        check = (by_megatron(feature) or feature).check
        if check is not None:
            found.extend(f"{feature.title}: {sentence}" for sentence in check(args))
    return found


def idle_flags(features: Iterable[Feature], args: Arguments, level: Level) -> list[str]:
    """Flags that have no effect because the switch of their feature is off."""
    found = []
    for choice in choose(features, args, level):
        feature = choice.feature
        if choice.on or feature.level > level:
            continue
        for flag in feature.flags[1:]:
            if flag.is_given(args) and not flag.megatron:
                found.append(f"{flag.name} has no effect: feature {feature.name} is off ({choice.reason})")
    return found


def _inactive(feature: Feature, args: Arguments, level: Level) -> Iterator[str]:
    if feature.level <= level:
        return
    for flag in feature.flags:
        is_ours = not flag.megatron or flag.value(args) in flag.adds
        if flag.is_given(args) and is_ours:
            name = f"{flag.name} {flag.value(args)}" if flag.adds else flag.name
            yield (
                f"{name} belongs to level {feature.level:d} (feature {feature.name}), and --optimization-level "
                f"is {level:d}: raise the level or leave the flag out"
            )


def _conflicts(on: list[Feature]) -> Iterator[str]:
    by_name = {feature.name: feature for feature in on}
    seen = set()
    for feature in on:
        for conflict in feature.conflicts:
            other = by_name.get(conflict.feature)
            pair = frozenset((feature.name, conflict.feature))
            if other is None or pair in seen:
                continue
            seen.add(pair)
            yield f"{feature.title} and {other.title} exclude each other: {conflict.why}; {_remedy(feature, other)}"


def _remedy(*pair: Feature) -> str:
    """How to switch one of two features off."""
    ways = []
    for feature in pair:
        if feature.flag is not None:
            ways.append(
                f"give {feature.flag.negative}" if feature.flag.negative else f"leave out {feature.flag.name}"
            )
    return " or ".join(ways) or "lower the level"


def _unmet(feature: Feature, args: Arguments, choices: list[Choice]) -> Iterator[str]:
    on = {choice.feature.name for choice in choices if choice.on}
    for need in feature.needs:
        if need.is_met(args, on):
            continue
        what = need.flag
        for choice in choices:
            if choice.feature.name == need.feature:
                what = f"{choice.feature.title}, which is off ({choice.reason})"
        yield f"{feature.title} needs {what}: {need.why}; add {need.flag}, or {_remedy(feature)}"


def by_megatron(feature: Feature) -> Native | None:
    """Megatron's own way of doing it, where the Megatron Core that is installed has one."""
    native = feature.native
    return native if native is not None and native.is_in(installed_version("megatron-core")) else None


def too_new(feature: Feature) -> Iterator[str]:
    """Whether the Megatron Core that is installed is none that the feature is for."""
    found = installed_version("megatron-core") if feature.until else None
    if by_megatron(feature) is None and found is not None and release(found) >= release(feature.until):
        later = f" and from {feature.native.since} on" if feature.native else ""
        yield (
            f"{feature.title} is for Megatron Core before {feature.until}{later}, and {found} is installed; "
            f"{_remedy(feature)}, or install an earlier release"
        )
