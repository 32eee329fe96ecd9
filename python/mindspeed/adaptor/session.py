# SPDX-License-Identifier: Apache-2.0
"""The one set of features that is active in this process, and the arguments it was made from.

Features of level 0 that need no argument are applied by start(), before Megatron is loaded. The others follow when
the arguments are known: configure() checks them all and then goes from the present set to the wanted one.
"""

from __future__ import annotations

import logging
import threading
from argparse import Namespace
from collections.abc import Iterable, Mapping
from typing import Any

from mindspeed.adaptor import arguments, rules
from mindspeed.adaptor.applying import Applier
from mindspeed.adaptor.discovery import all_features
from mindspeed.adaptor.errors import ConfigurationError
from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.importing import module_exists
from mindspeed.adaptor.plan import make_plan

_log = logging.getLogger("mindspeed.adaptor")
# Features are switched one set after the other; a thread that builds a config waits for the set.
_lock = threading.RLock()
_active: Applier | None = None
_present: tuple[Feature, ...] = ()
_arguments: Namespace | None = None


def activate(features: Iterable[Feature]) -> None:
    """Apply the features; nothing happens when a set is active already."""
    with _lock:
        if _active is None:
            _apply(features)


def start() -> None:
    """Apply what needs no arguments."""
    activate(feature for feature in all_features() if feature.is_permanent)


def configure(args: Namespace) -> None:
    """Go to the features that the arguments ask for.

    Raises ConfigurationError with everything that is wrong before anything is patched. Switches that nobody gave get
    their value: `args` then says of each feature whether it is on.
    """
    global _arguments
    features = all_features()
    arguments.complete(args, features)
    level = arguments.level_of(args)
    wrong = rules.problems(features, args, level)
    if wrong:
        raise ConfigurationError(wrong)
    for sentence in rules.idle_flags(features, args, level):
        _log.warning(sentence)
    choices = rules.choose(features, args, level)
    with _lock:
        _apply(choice.feature for choice in choices if choice.on)
        arguments.resolve(args, choices)
        _arguments = args


def repatch(changes: Mapping[str, Any]) -> None:
    """Change arguments by code, as often as wanted: the rest stays as it was."""
    with _lock:
        args = arguments.changed(_given(), changes, all_features())
        kept = Namespace(**vars(args))
        configure(args)
        _remember(kept)


def ensure_configured() -> None:
    """For programs that never give arguments: what the command line says, else the defaults."""
    if _arguments is None and _active is not None:
        with _lock:
            if _arguments is None:
                configure(arguments.of_command_line(all_features()))


def current_arguments() -> Namespace:
    """The arguments in effect; before there are any, those of the command line."""
    return _arguments if _arguments is not None else arguments.of_command_line(all_features(), megatron=True)


def revert() -> None:
    """Undo everything; nothing happens when nothing is active."""
    global _active, _present, _arguments
    with _lock:
        applier, _active, _present, _arguments = _active, None, (), None
        _remember(None)
        if applier is not None:
            applier.revert()


def is_active() -> bool:
    return _active is not None


def active_features() -> tuple[Feature, ...]:
    return _present


def is_on(name: str) -> bool:
    """Whether a feature is active at this moment."""
    return any(feature.name == name for feature in _present)


def patched_targets() -> list[str]:
    """What is patched at this moment, aliases included."""
    return [change.where for change in _active.changes] if _active else []


def _apply(features: Iterable[Feature]) -> None:
    global _active, _present
    wanted = tuple(features)
    plan = make_plan(wanted, module_exists)
    if _active is None:
        applier = Applier(plan, [finder for feature in wanted for finder in feature.finders])
        applier.apply()
        _active = applier
    else:
        _active.change_to(plan)
    _present = wanted


# What repatch() was given so far, without the values that configure() filled in.
_repatched: Namespace | None = None


def _given() -> Namespace:
    if _repatched is not None:
        return _repatched
    return _arguments if _arguments is not None else Namespace()


def _remember(args: Namespace | None) -> None:
    global _repatched
    _repatched = args
