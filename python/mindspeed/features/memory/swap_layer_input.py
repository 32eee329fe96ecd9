# SPDX-License-Identifier: Apache-2.0
"""What is kept of layers that are recomputed as a whole, their input, is in the memory of the host until it is needed.

While the following layers run, copies go out on a stream of their own; at their end the device's memory is given back. In the
backward pass the first input that is asked for lets the one before come in, on another stream (swap_attention.py).
"""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks

from mindspeed.adaptor import Conflict, Feature, Flag, Level, Need, Patch
from mindspeed.features.memory.swap_attention import Saved, _unpack, forget_shared

Function = Callable[..., Any]


class _Input(Saved):
    """A caller further out may hold the first input of a pass until that is over: it is tried again."""

    def leave(self) -> None:
        if self._event is not None:
            torch.npu.current_stream().wait_event(self._event)
            self._event = None
        self._is_out = True
        self.try_again()

    def try_again(self) -> bool:
        """Whether all has left, or is back already."""
        here = [block for block in self._blocks if block.device is not None] if self._is_out else []
        for block in here:
            if not block.is_held_elsewhere:
                block.leave()
        return all(block.device is None for block in here)


class _Pass:
    """One forward pass of a stack of layers, by what has been checkpointed in it."""

    def __init__(self) -> None:
        self.count = 0
        self.before: Saved | None = None


_pass: contextvars.ContextVar[_Pass | None] = contextvars.ContextVar("pass_of_layers", default=None)


class _Now:
    last: _Input | None = None  # whose memory is not given back yet
    held: list[_Input] = []  # noqa: RUF012


def passing(forward: Function) -> Function:
    """TransformerBlock.forward."""

    @functools.wraps(forward)
    def forward_of_block(self: Any, *args: Any, **kwargs: Any) -> Any:
        forget_shared()
        token = _pass.set(_Pass())
        try:
            return forward(self, *args, **kwargs)
        finally:
            _pass.reset(token)

    return forward_of_block


def _places(values: Any) -> set[int]:
    """Where tensors lie that all layers are given alike."""
    flat = [part for value in values for part in (value if isinstance(value, (tuple, list)) else (value,))]
    return {value.untyped_storage().data_ptr() for value in flat if isinstance(value, torch.Tensor)}


def swapping(checkpoint: Function) -> Function:
    """tensor_parallel.checkpoint, of layers."""

    @functools.wraps(checkpoint)
    def checkpoint_and_swap(function: Function, distribute_saved_activations: bool, *args: Any) -> Any:
        now = _pass.get()
        # In a recomputation, which runs in a backward pass, everything is needed at once.
        if now is None or not torch.is_grad_enabled() or torch._C._current_graph_task_id() != -1:
            return checkpoint(function, distribute_saved_activations, *args)
        now.count += 1
        saved = _Input(now.count, _places(args[1:]), now.before)
        last = _Now.last
        try:
            with saved_tensors_hooks(saved.pack, _unpack):
                return checkpoint(function, distribute_saved_activations, *args)
        finally:
            saved.close()
            if last is not None:
                last.leave()
            _Now.held = [one for one in (*_Now.held, *([last] if last else [])) if not one.try_again()]
            _Now.last = now.before = saved

    return checkpoint_and_swap


def check(args: Any) -> Iterator[str]:
    if getattr(args, "distribute_saved_activations", False):
        yield (
            "--distribute-saved-activations keeps a part of each input on each rank, which is a copy of it; leave one of "
            "the two out"
        )
    if getattr(args, "fp8", None):
        yield "layers in fp8 are recomputed by Transformer Engine's function; leave out --fp8-format, or this flag"


def _whole_layers(args: Any) -> bool:
    return getattr(args, "recompute_granularity", None) == "full"


_TOO = "it decides as well what layers keep"
FEATURE = Feature(
    name="swap-layer-input",
    level=Level.ACCELERATION,
    flags=(
        Flag(
            "--swap-layer-input",
            "Keep inputs of layers that are recomputed as a whole in the host's memory.",
            in_config=False,
        ),
    ),
    needs=(
        Need(
            flag="--recompute-granularity full",
            why="of other layers more is kept than their input",
            holds=_whole_layers,
        ),
    ),
    conflicts=(
        Conflict(feature="swap-attention", why=_TOO),
        Conflict(feature="compress-activation", why=_TOO),
        Conflict(feature="compress-dense", why=_TOO),
        Conflict(feature="adaptive-recompute", why=_TOO),
        Conflict(feature="recompute-in-advance", why="it recomputes layers by a function of its own"),
        Conflict(feature="recompute-in-bubble", why="it recomputes layers by a function of its own"),
        Conflict(feature="moe-fb-overlap", why="it recomputes layers by a function of its own"),
    ),
    check=check,
    patches=(
        Patch("megatron.core.transformer.transformer_block:TransformerBlock.forward", passing, wraps=True),
        Patch("megatron.core.tensor_parallel.random:checkpoint", swapping, wraps=True),
    ),
)
