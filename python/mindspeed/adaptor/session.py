# SPDX-License-Identifier: Apache-2.0
"""Features of the package, and the one set of them that is active in this process."""

from __future__ import annotations

from collections.abc import Iterable

from mindspeed.adaptor.applying import Applier
from mindspeed.adaptor.discovery import all_features
from mindspeed.adaptor.importing import module_exists
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Feature, make_plan

_active: Applier | None = None


def discover(level: Level) -> list[Feature]:
    """All features up to a level."""
    return [feature for feature in all_features() if feature.level <= level]


def activate(features: Iterable[Feature]) -> None:
    """Apply the features; nothing happens when a set is active already."""
    global _active
    if _active is not None:
        return
    applier = Applier(make_plan(features, module_exists))
    applier.apply()
    _active = applier


def revert() -> None:
    """Undo everything; nothing happens when nothing is active."""
    global _active
    applier, _active = _active, None
    if applier is not None:
        applier.revert()


def is_active() -> bool:
    return _active is not None


def patched_targets() -> list[str]:
    """What is patched at this moment, aliases included."""
    return [change.where for change in _active.changes] if _active else []
