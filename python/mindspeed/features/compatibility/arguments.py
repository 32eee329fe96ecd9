# SPDX-License-Identifier: Apache-2.0
"""Flags of features are options of Megatron's own parser; its validation decides which features are on.

Megatron parses, types and defaults them, --help shows them in groups of their own. A wrong command line is refused as
argparse refuses one, before anything of levels 1 and 2 is patched.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import sys
from argparse import Namespace
from collections.abc import Callable
from typing import Any

from mindspeed.adaptor import arguments, guests, rules, session
from mindspeed.adaptor.discovery import all_features
from mindspeed.adaptor.errors import ConfigurationError
from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch

# The namespace that parse_args gave last.
_parsed: list[Namespace] = []


def _refuse(error: ConfigurationError) -> BaseException:
    """Of a command line. A worker of a pool gives its program the error, which would wait for ever for one that has ended."""
    if multiprocessing.parent_process() is not None:
        return error
    return arguments.refuse(os.path.basename(sys.argv[0]), error)


def with_our_flags(parse_args: Callable[..., Namespace]) -> Callable[..., Namespace]:
    """Add the flags, and refuse what they say wrong before anything is started."""

    @functools.wraps(parse_args)
    def parse(extra_args_provider: Any = None, ignore_unknown_args: bool = False) -> Namespace:
        features = all_features()
        args = parse_args(arguments.extended(extra_args_provider, features), ignore_unknown_args)
        arguments.complete(args, features)
        wrong = rules.problems(features, args, arguments.level_of(args))
        if wrong:
            raise _refuse(ConfigurationError(wrong))
        _parsed[:] = [args]
        return args

    return parse


def _given(args: Namespace) -> dict[str, Any]:
    """Flags that are ours alone: Megatron's validation resets fields of its configs that it has no option for."""
    flags = arguments.flags_of(all_features()).values()
    return {flag.dest: flag.value(args) for flag in flags if flag.is_given(args) and not flag.megatron}


def with_our_rules(validate_args: Callable[..., Any]) -> Callable[..., Any]:
    """Let features set what Megatron validates, and switch them on when it is content."""
    if getattr(validate_args, "has_our_rules", False):
        return validate_args

    @functools.wraps(validate_args)
    def validate(args: Namespace, *rest: Any, **options: Any) -> Any:
        guests.before_validation(args)
        arguments.complete(args, all_features())
        arguments.parse_texts(args, all_features())
        for choice in rules.choose(all_features(), args, arguments.level_of(args)):
            adjust = (rules.by_megatron(choice.feature) or choice.feature).adjust
            if choice.on and adjust is not None:
                adjust(args)
        given = _given(args)
        result = validate_args(args, *rest, **options)
        vars(args).update(given)
        try:
            session.configure(args)
        except ConfigurationError as error:
            if any(
                args is known for known in _parsed
            ):  # a command line; programs that make their arguments themselves get the error
                raise _refuse(error) from None
            raise
        guests.after_validation(args)
        return result

    validate.has_our_rules = True  # type: ignore[attr-defined]
    return validate


FEATURE = Feature(
    name="arguments",
    level=Level.COMPATIBILITY,
    patches=(
        Patch(
            "megatron.training.arguments:parse_args", with_our_flags, wraps=True, requires="megatron.training"
        ),
        Patch(
            "megatron.training.arguments:validate_args",
            with_our_rules,
            wraps=True,
            requires="megatron.training",
        ),
        Patch(
            "megatron.training.yaml_arguments:validate_yaml",
            with_our_rules,
            wraps=True,
            requires="megatron.training",
        ),
    ),
)
