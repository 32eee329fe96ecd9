# SPDX-License-Identifier: Apache-2.0
"""What modules are given goes to the memory of the host until their backward pass: with recomputation, most of what is kept.

Copies go out while the following module computes, and come back while the following one's backward pass runs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from mindspeed.features.memory.swap_attention import Saved, Ticket, forget_shared
from mindspeed.fsdp.utils.modules import matching

__all__ = [
    "TensorSwapContext",
    "get_swap_activation_modules",
    "swap_activation_modules",
    "swap_activation_wrapper",
]

Check = Callable[[Tensor], bool]


class TensorSwapContext:
    """Modules that follow each other in a forward pass."""

    def __init__(self) -> None:
        self._last: Saved | None = None  # whose device memory is not given back yet

    def run(self, place: int, accepts: Check, call: Callable[[], Any]) -> Any:
        follows = self._last is not None and place > self._last.number
        if not follows:
            forget_shared()
        saved = Saved(place, set(), self._last if follows else None)

        def pack(tensor: Tensor) -> Any:
            return saved.pack(tensor) if accepts(tensor) else tensor

        try:
            with saved_tensors_hooks(pack, _unpack):
                return call()
        finally:
            saved.close()
            if self._last is not None and follows:
                self._last.leave()
            self._last = saved


def _unpack(packed: Any) -> Tensor:
    tensor: Tensor = packed.tensor() if isinstance(packed, Ticket) else packed
    return tensor


def get_swap_activation_modules(modules: nn.Module, plan: Sequence[str]) -> list[tuple[str, nn.Module]]:
    return list(matching("swap_activation", modules, plan).items())


def swap_activation_modules(model: nn.Module, plan: Sequence[str]) -> nn.Module:
    """After recompute_modules, if both are wanted."""
    context = TensorSwapContext()
    for place, (_, module) in enumerate(get_swap_activation_modules(model, plan)):
        module.forward = swap_activation_wrapper(module.forward, context, place=place)
    return model


def swap_activation_wrapper(
    function: Callable[..., Any],
    context: TensorSwapContext,
    custom_check_fn: Check | None = None,
    *,
    place: int = 0,
) -> Callable[..., Any]:
    """`custom_check_fn` says of a tensor that autograd saves whether it goes; otherwise the module's hidden states do."""

    @functools.wraps(function)
    def swapping(*args: Any, **kwargs: Any) -> Any:
        # In a recomputation, which runs in a backward pass, everything is needed at once.
        if not torch.is_grad_enabled() or torch._C._current_graph_task_id() != -1:
            return function(*args, **kwargs)
        hidden = kwargs.get("hidden_states", args[0] if args else None)
        begin = hidden.data_ptr() if isinstance(hidden, Tensor) else None
        accepts = custom_check_fn or (lambda tensor: tensor.data_ptr() == begin)
        return context.run(place, accepts, lambda: function(*args, **kwargs))

    return swapping
