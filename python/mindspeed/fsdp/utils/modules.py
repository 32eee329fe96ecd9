# SPDX-License-Identifier: Apache-2.0
"""Modules of a model that a plan names."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from mindspeed.fsdp.utils.str_match import module_name_match

__all__ = ["matching"]


def matching(plan: str, model: nn.Module, patterns: Iterable[str]) -> dict[str, nn.Module]:
    """By name, in the order of the model. A pattern that fits no module is an error: it is a slip of the pen."""
    names = {name: module for name, module in model.named_modules() if name}
    found: set[str] = set()
    for pattern in patterns:
        fitting = {name for name in names if module_name_match(pattern, name)}
        if not fitting:
            some = ", ".join(list(names)[:8])
            raise ValueError(f"{plan}: no module fits {pattern!r}; modules are {some}, ...")
        found |= fitting
    return {name: module for name, module in names.items() if name in found}
