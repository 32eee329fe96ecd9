# SPDX-License-Identifier: Apache-2.0
"""Modules that keep what they are given and compute the rest again in the backward pass."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from mindspeed.fsdp.utils.modules import matching

__all__ = ["get_recompute_modules", "recompute_modules", "recompute_wrapper"]

CACHES = (
    "past_key_values",
    "past_key_value",
    "cache",
)  # of transformers: a second pass would fill them again


def get_recompute_modules(modules: nn.Module, plan: Sequence[str]) -> list[tuple[str, nn.Module]]:
    return list(matching("recompute_plan", modules, plan).items())


def recompute_modules(model: nn.Module, plan: Sequence[str]) -> nn.Module:
    for _, module in get_recompute_modules(model, plan):
        module.forward = recompute_wrapper(module.forward)
    return model


def recompute_wrapper(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def computed_again(*args: Any, **kwargs: Any) -> Any:
        kwargs |= dict.fromkeys((name for name in CACHES if name in kwargs), None)
        return checkpoint(function, *args, use_reentrant=False, **kwargs)

    return computed_again
