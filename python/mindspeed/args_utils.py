# SPDX-License-Identifier: Apache-2.0
"""The arguments in effect, under the names that other projects import."""

from __future__ import annotations

import sys
from argparse import Namespace

from mindspeed.adaptor import arguments, session
from mindspeed.adaptor.discovery import all_features

__all__ = ["get_full_args", "get_mindspeed_args"]


def get_mindspeed_args(get_defaults: bool = False) -> Namespace:
    """The namespace that repatch() changes; with get_defaults a new one with the value of every flag nobody gave."""
    if get_defaults:
        return arguments.defaults(all_features())
    return session.current_arguments()


def get_full_args() -> Namespace:
    """Megatron's arguments where its program has parsed them, else ours: the object in use, not a copy."""
    module = sys.modules.get("megatron.training.global_vars")
    return getattr(module, "_GLOBAL_ARGS", None) or session.current_arguments()
