# SPDX-License-Identifier: Apache-2.0
"""Shards of weights are quantised once between two steps of an optimizer, though they are gathered twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["cached_quant", "hook_optimizer_step"]

_kept: dict[Any, tuple[Tensor, ...]] = {}
_is_hooked = False


def _key(x: Tensor) -> Any:
    """Where the values are, and how often they were changed."""
    return x.data_ptr(), x.shape, x._version


def cached_quant(
    x: Tensor, quantizer: Callable[[Tensor], tuple[Tensor, ...]], of: Tensor | None = None
) -> tuple[Tensor, ...]:
    """quantizer(x); what it gave is kept until the optimizer's next step, if there is one that tells of its steps.

    of: the tensor that x was made of, which stays where it is.
    """
    if not _is_hooked:
        return quantizer(x)
    key = _key(x if of is None else of)
    if key not in _kept:
        _kept[key] = quantizer(x)
    return _kept[key]


def hook_optimizer_step(optimizer: torch.optim.Optimizer) -> None:
    """From now on what is quantised is kept until this optimizer has made a step."""
    global _is_hooked
    optimizer.register_step_post_hook(lambda *_: _kept.clear())
    _is_hooked = True
