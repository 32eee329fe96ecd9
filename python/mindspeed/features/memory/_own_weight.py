# SPDX-License-Identifier: Apache-2.0
"""Megatron's linear layer gets its weight itself back from autograd, not another tensor with the same values.

Under hooks for saved tensors autograd hands out new tensors. The weight's has no `main_grad` then, to which gradients are
added (Megatron's gradient accumulation fusion, on by default), and marks that Megatron sets on it are lost.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from torch import Tensor

from mindspeed.adaptor import Patch

_CLASS = "megatron.core.tensor_parallel.layers:LinearWithGradAccumulationAndAsyncCommunication"


class _Context:
    """Of a backward pass, with the weight in place of what was saved for it."""

    def __init__(self, ctx: Any) -> None:
        self._ctx = ctx

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ctx, name)

    @property
    def saved_tensors(self) -> tuple[Tensor, Tensor]:
        found, _ = self._ctx.saved_tensors
        return found, self._ctx.own_weight


def keeping(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    @functools.wraps(forward)
    def forward_keeping(ctx: Any, input: Tensor, weight: Tensor, *args: Any) -> Tensor:
        ctx.own_weight = weight
        return forward(ctx, input, weight, *args)

    return forward_keeping


def giving(backward: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(backward)
    def backward_giving(ctx: Any, *gradients: Tensor) -> Any:
        return backward(_Context(ctx), *gradients)

    return backward_giving


def own_weight() -> tuple[Patch, ...]:
    """For features that save tensors of Megatron's layers elsewhere."""
    return (
        Patch(f"{_CLASS}.forward", keeping, wraps=True),
        Patch(f"{_CLASS}.backward", giving, wraps=True),
    )
