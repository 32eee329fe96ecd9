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
from mindspeed.adaptor.patching import Patch
from mindspeed.adaptor.plan import make_plan

_log = logging.getLogger("mindspeed.adaptor")
# Features are switched one set after the other; a thread that builds a config waits for the set.
_lock = threading.RLock()
_active: Applier | None = None
_is_started = False
_present: tuple[Feature, ...] = ()
# Patches that programs register by code, beside the features.
_registered: Feature | None = None
# The namespace in effect: it stays the same object, whoever changes it.
_arguments: Namespace | None = None
_is_configured = False
# Switches whose value configure() filled in, as they were before: the next configuration decides anew.
_filled: dict[str, tuple[Any, Any]] = {}


def activate(features: Iterable[Feature]) -> None:
    """Apply the features; nothing happens when a set is active already."""
    global _active, _is_started
    with _lock:
        if not _is_started:
            if _active is not None:  # only what was registered: it comes after the features
                _active.revert()
                _active = None
            _apply(tuple(features), _registered)
            _is_started = True


def start() -> None:
    """Apply what needs no arguments."""
    activate(feature for feature in all_features() if feature.is_permanent)


def register(feature: Feature | None) -> None:
    """Patches beside the features, in place of those registered before. On an error nothing changes."""
    with _lock:
        _apply(_present, feature)


def registered() -> Feature | None:
    return _registered


def configure(args: Namespace) -> None:
    """Go to the features that the arguments ask for; they are those in effect from now on.

    Raises ConfigurationError with everything that is wrong before anything is patched. Switches that nobody gave get
    their value: `args` then says of each feature whether it is on.
    """
    global _arguments
    with _lock:
        if args is _arguments:  # again: nobody has given what was filled in
            vars(args).update(vars(_given(args)))
        _configure(args)
        _arguments = args


def repatch(changes: Mapping[str, Any]) -> None:
    """Change arguments by code, as often as wanted: the rest stays as it was."""
    with _lock:
        live = current_arguments()
        if changes.keys() >= vars(live).keys():  # all arguments: what configure() filled in, nobody has given
            changes = {k: v for k, v in changes.items() if k not in _filled or v is not _filled[k][1]}
        args = arguments.changed(_given(live), changes, all_features())
        _configure(args)
        vars(live).clear()
        vars(live).update(vars(args))


def ensure_configured() -> None:
    """For programs that never give arguments: what the command line says, else the defaults."""
    if not _is_configured and _is_started:
        with _lock:
            if not _is_configured:
                configure(_arguments or arguments.of_command_line(all_features()))


def current_arguments() -> Namespace:
    """The arguments in effect; before there are any, those of the command line."""
    global _arguments
    with _lock:
        if _arguments is None:
            _arguments = arguments.of_command_line(all_features(), megatron=True)
        return _arguments


def add_missing_arguments() -> None:
    """Options that were declared after the command line was read."""
    with _lock:
        if _arguments is not None:
            for name, value in vars(arguments.of_command_line(all_features())).items():
                vars(_arguments).setdefault(name, value)


def revert() -> None:
    """Undo everything; nothing happens when nothing is active."""
    global _active, _is_started, _present, _registered, _arguments, _is_configured
    with _lock:
        applier, _active, _is_started, _present, _registered = _active, None, False, (), None
        _arguments, _is_configured = None, False
        _filled.clear()
        if applier is not None:
            applier.revert()


def is_active() -> bool:
    return _is_started


def active_features() -> tuple[Feature, ...]:
    return _present


def is_on(name: str) -> bool:
    """Whether a feature is active at this moment."""
    return any(feature.name == name for feature in _present)


def patched_targets() -> list[str]:
    """What is patched at this moment, aliases included."""
    return [change.where for change in _active.changes] if _active else []


def original(patch: Patch) -> Any:
    """What the target of a patch was before all patches; None while it is not patched."""
    return _active.original(patch.module, patch.path) if _active else None


def _configure(args: Namespace) -> None:
    global _is_configured
    features = all_features()
    arguments.complete(args, features)
    level = arguments.level_of(args)
    wrong = rules.problems(features, args, level)
    if wrong:
        raise ConfigurationError(wrong)
    for sentence in rules.idle_flags(features, args, level):
        _log.warning(sentence)
    choices = rules.choose(features, args, level)
    _apply(tuple(choice.feature for choice in choices if choice.on), _registered)
    before = dict(vars(args))
    arguments.resolve(args, choices)
    _filled.clear()
    _filled.update({k: (before[k], v) for k, v in vars(args).items() if v is not before[k]})
    _is_configured = True


def _given(args: Namespace) -> Namespace:
    """The arguments without the values that configure() filled in, unless somebody changed these since."""
    values = {k: _filled[k][0] if k in _filled and v is _filled[k][1] else v for k, v in vars(args).items()}
    return Namespace(**values)


def _apply(features: tuple[Feature, ...], extra: Feature | None = None) -> None:
    global _active, _present, _registered
    plan = make_plan(features if extra is None else (*features, extra), module_exists)
    if _active is None:
        applier = Applier(plan, [finder for feature in features for finder in feature.finders])
        applier.apply()
        _active = applier
    else:
        _active.change_to(plan)
    _present, _registered = features, extra
