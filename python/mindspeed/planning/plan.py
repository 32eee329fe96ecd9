# SPDX-License-Identifier: Apache-2.0
"""The plan as plain data, which table, JSON and page are made from."""

from __future__ import annotations

import shlex
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from mindspeed.adaptor import arguments
from mindspeed.adaptor.discovery import all_features
from mindspeed.adaptor.importing import module_exists
from mindspeed.adaptor.patching import Patch
from mindspeed.adaptor.plan import make_plan
from mindspeed.adaptor.rules import Choice
from mindspeed.adaptor.versions import installed_version
from mindspeed.planning import estimate, launch, mistakes, understanding

Plan = dict[str, Any]
VERSION = 1


def make(
    command: Sequence[str], level: int | None = None, megatron: str | None = None, devices: int | None = None
) -> Plan:
    """The plan of a training command; raises CommandError for what is none. `devices` are those of this machine."""
    started = launch.parse(command)
    found = understanding.understand(started, level, megatron)
    return {
        "version": VERSION,
        "command": shlex.join(command),
        "ranks": started.ranks,
        "nodes": started.nodes,
        "optimization_level": int(arguments.level_of(found.args)),
        "versions": {name: installed_version(name) for name in ("megatron-core", "torch", "torch_npu")},
        "problems": [*found.problems, *mistakes.mistakes(started, found.args, devices)],
        "features": [_feature(choice) for choice in found.choices],
        "patches": _patches(found.choices),
        "flags": _flags(found),
        "unknown_flags": list(found.unknown),
        "estimate": _estimate(found),
    }


def _estimate(found: understanding.Understanding) -> dict[str, Any] | None:
    if found.problems:
        return None
    features = [choice.feature.name for choice in found.choices if choice.on]
    return estimate.estimate(found.args, features).as_dict()


def _feature(choice: Choice) -> dict[str, Any]:
    feature = choice.feature
    return {
        "name": feature.name,
        "area": feature.area,
        "level": int(feature.level),
        "on": choice.on,
        "reason": choice.reason,
        "flags": [flag.spelling for flag in feature.flags],
        "summary": feature.summary,
    }


def _patches(choices: Sequence[Choice]) -> list[dict[str, Any]]:
    """In the order in which they go around a target."""
    plan = make_plan([choice.feature for choice in choices if choice.on], module_exists)
    found = []
    for stacks in plan.values():
        for stack in stacks.values():
            owners = [stack.replacement] if stack.replacement else []
            found += [_patch(name, patch) for name, patch in (*owners, *stack.wrappers)]
    return found


def _patch(feature: str, patch: Patch) -> dict[str, Any]:
    bounds = [f">={patch.since}"] if patch.since else []
    bounds += [f"<{patch.until}"] if patch.until else []
    return {
        "target": patch.target,
        "feature": feature,
        "kind": "wraps" if patch.wraps else "replaces",
        "distribution": patch.distribution,
        "versions": ",".join(bounds) or "all",
    }


def _flags(found: understanding.Understanding) -> list[dict[str, Any]]:
    """Every flag of the command that a parser knows, and whose it is."""
    ours = {flag.name: feature.name for feature in all_features() for flag in feature.flags}
    ours |= {
        flag.negative: feature.name for feature in all_features() for flag in feature.flags if flag.negative
    }
    ours[arguments.LEVEL.name] = "optimization level"
    return [
        {"flag": name, "value": _value(found.args, name), "owner": ours.get(name, "Megatron")}
        for name in dict.fromkeys(found.given)
    ]


def _value(args: Namespace, flag: str) -> Any:
    value = getattr(args, flag.lstrip("-").replace("-", "_"), None)
    return value if isinstance(value, (bool, int, float, str, list, type(None))) else str(value)
