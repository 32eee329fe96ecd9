# SPDX-License-Identifier: Apache-2.0
"""Flags of features in a parser, and what wraps Megatron's parse_args and validate_args, for programs that call these."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import Any

from mindspeed import absent
from mindspeed.adaptor import arguments, guests
from mindspeed.adaptor.discovery import all_features
from mindspeed.features.compatibility.arguments import with_our_flags, with_our_rules

__all__ = ["parse_args_wrapper", "process_args", "validate_args_wrapper"]


def process_args(parser: ArgumentParser) -> ArgumentParser:
    """The parser, with the flags of features, those that projects wrote included."""
    guests.add_flags(parser)
    arguments.add_flags(parser, all_features())
    return parser


def parse_args_wrapper(parse_args: Callable[..., Namespace]) -> Callable[..., Namespace]:
    """parse_args with the flags of features."""
    return with_our_flags(parse_args)


def validate_args_wrapper(validate_args: Callable[..., Any]) -> Callable[..., Any]:
    """validate_args with the rules of features; one that has them stays as it is."""
    return with_our_rules(validate_args)


__getattr__ = absent.attributes(
    __name__, {"_add_auto_settings_args": "the search for a parallel strategy is not part of this package"}
)
