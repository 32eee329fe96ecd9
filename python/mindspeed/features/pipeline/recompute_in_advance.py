# SPDX-License-Identifier: Apache-2.0
"""Layers that are recomputed are so before their gradient arrives, and the last one of the model is not at all.

Megatron recomputes a layer when its backward pass begins, so a stage that waits for a gradient does nothing meanwhile.
Of the last layer the backward pass follows its forward pass at once: keeping its activations takes no memory that
recomputing would not take.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import torch

from mindspeed.adaptor import Conflict, Feature, Flag, Level, Patch
from mindspeed.features.pipeline import _passes
from mindspeed.features.pipeline._passes import Function, Pass, Schedule


def keeping_all(schedule: Schedule, one: Pass) -> None:
    """Layers say themselves whether they are recomputed."""


@functools.cache
def _layers_of(model: torch.nn.Module) -> int:
    from megatron.core.transformer.transformer_block import TransformerBlock

    return sum(len(module.layers) for module in model.modules() if isinstance(module, TransformerBlock))


def in_pass(checkpoint: Function) -> Function:
    """tensor_parallel.checkpoint, of a pass that is followed."""

    @functools.wraps(checkpoint)
    def checkpointed(function: Function, distribute_saved_activations: bool, *args: Any) -> Any:
        one = Schedule.now.current if Schedule.now is not None else None
        if one is None or distribute_saved_activations or not torch.is_grad_enabled():
            return checkpoint(function, distribute_saved_activations, *args)
        if one.is_last_chunk and len(one.pieces) == _layers_of(one.model) - 1:
            return function(*args)
        return one.run(function, *args)

    return checkpointed


def check(args: Any) -> Iterator[str]:
    yield from _passes.problems(args, "--recompute-in-advance")
    if getattr(args, "recompute_granularity", None) != "full":
        yield "nothing is recomputed; give --recompute-granularity full --recompute-method block --recompute-num-layers N"
    elif getattr(args, "recompute_method", None) != "block":
        yield (
            "--recompute-method uniform recomputes several layers at a time; give --recompute-method block, or leave out "
            "--recompute-in-advance"
        )


FEATURE = Feature(
    name="recompute-in-advance",
    level=Level.ACCELERATION,
    flags=(
        Flag(
            "--recompute-in-advance",
            "Recompute the layers of a chunk before waiting for its gradient, and the last layer of the model not.",
        ),
    ),
    conflicts=(
        Conflict(feature="recompute-in-bubble", why="it chooses by itself which passes are recomputed"),
    ),
    check=check,
    patches=(
        *_passes.patches(keeping_all),
        Patch("megatron.core.tensor_parallel.random:checkpoint", in_pass, wraps=True),
    ),
)
