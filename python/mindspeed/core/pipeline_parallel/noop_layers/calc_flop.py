# SPDX-License-Identifier: Apache-2.0
"""Operations of the layers that compute, under the name that other projects import."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from typing import Any

from mindspeed.features.pipeline.noop_layers import counting_others

__all__ = ["calc_flop"]


def calc_flop(func: Callable[[Namespace, int], Any], args: Namespace, batch_size: int) -> Any:
    """func(args, batch_size), for which args has the layers that compute; afterwards it is as before."""

    def count(others: Namespace, batch_size: int) -> Any:
        before = dict(vars(args))
        vars(args).update(vars(others))
        try:
            return func(args, batch_size)
        finally:
            vars(args).clear()
            vars(args).update(before)

    if not isinstance(args.noop_layers, set):
        return func(args, batch_size)
    return counting_others(count)(args, batch_size)
