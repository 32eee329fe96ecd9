# SPDX-License-Identifier: Apache-2.0
"""What layers save for the backward pass, or their dense MLPs' first product, is compressed without loss until it is needed.

While the following layer runs, the tensors of a layer are compressed on a stream of their own; at that layer's end their
memory is given back. In the backward pass the first tensor that a layer asks for lets those of the layer before come back.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks

from mindspeed.adaptor import Conflict, Feature, Flag, Level, Patch
from mindspeed.features.memory._own_weight import own_weight
from mindspeed.features.memory.swap_attention import _kept, _unpack

_FLAG = "--compress-activation"
Forward = Callable[..., Any]


def layers_of(words: str) -> set[int] | None:
    """'1-3,5': the numbers, which begin with 1; '0': None, that is all."""
    if words.strip() == "0":
        return None
    found: set[int] = set()
    for word in words.split(","):
        first, dash, last = word.strip().partition("-")
        found.update(range(int(first), int(last if dash else first) + 1))
    return found


class _Now:
    """Of the forward pass that runs: `last`, whose memory is not given back yet, and `current`."""

    last: Any = None
    current: Any = None


def _following(
    forward: Forward, is_on: Callable[[Any], bool], begin: Callable[[Any], Any], run: Forward
) -> Forward:
    """TransformerLayer.forward of layers for which it is on; `run` with hooks or without."""

    @functools.wraps(forward)
    def followed(self: Any, *args: Any, **kwargs: Any) -> Any:
        # In a recomputation, which runs in a backward pass, everything is needed at once.
        if not torch.is_grad_enabled() or torch._C._current_graph_task_id() != -1 or not is_on(self):
            return forward(self, *args, **kwargs)
        from mindspeed.features.memory._compressed import Compressed

        last = _Now.last
        follows = last is not None and last.number < self.layer_number
        saved = Compressed(self, _kept(self, args[1:], kwargs), last if follows else None, begin(self))
        _Now.current = saved
        try:
            return run(saved, forward, self, *args, **kwargs)
        finally:
            saved.close()
            if last is not None:
                last.leave()
            _Now.last, _Now.current = saved, None

    return followed


def compressing(forward: Forward) -> Forward:
    def is_on(layer: Any) -> bool:
        chosen = layers_of(layer.config.compress_activation)
        return chosen is None or layer.layer_number in chosen

    def run(saved: Any, forward: Forward, *args: Any, **kwargs: Any) -> Any:
        with saved_tensors_hooks(saved.pack, _unpack):
            return forward(*args, **kwargs)

    return _following(forward, is_on, lambda layer: False, run)


def _problem(words: str, layers: int | None) -> str:
    wanted = "wanted 0 for all layers, or numbers of layers as in 1-3,5"
    try:
        chosen = layers_of(words)
    except ValueError:
        return f"{_FLAG} {words}: {wanted}"
    if chosen is None:
        return ""
    if not chosen or min(chosen) < 1 or (layers is not None and max(chosen) > layers):
        return f"{_FLAG} {words}: {wanted}, of the layers 1 to {layers if layers is not None else '--num-layers'}"
    return ""


def recomputed(args: Any) -> Iterator[str]:
    if getattr(args, "recompute_granularity", None) == "full" and args.recompute_method == "uniform":
        yield (
            "--recompute-method uniform recomputes every layer as a whole, which leaves nothing to compress; give "
            "--recompute-method block, or leave one of the two out"
        )


def check(args: Any) -> Iterator[str]:
    problem = _problem(args.compress_activation, getattr(args, "num_layers", None))
    if problem:
        yield problem
    yield from recomputed(args)


CONFLICTS = tuple(
    Conflict(feature=name, why="both decide what a layer keeps")
    for name in (
        "swap-attention",
        "recompute-norm",
        "recompute-activation-function",
        "moe-zero-memory",
        "adaptive-recompute",
        "recompute-in-bubble",
        "recompute-in-advance",
    )
)
FEATURE = Feature(
    name="compress-activation",
    level=Level.ACCELERATION,
    flags=(
        Flag(
            _FLAG,
            "Layers whose activations are compressed without loss: 0 for all, or numbers as in 1-3,5.",
            type=str,
            default="",
            metavar="LAYERS",
        ),
    ),
    conflicts=(Conflict(feature="compress-dense", why="it has the dense layers' products too"), *CONFLICTS),
    check=check,
    patches=(
        Patch(
            "megatron.core.transformer.transformer_layer:TransformerLayer.forward", compressing, wraps=True
        ),
        *own_weight(),
    ),
)
