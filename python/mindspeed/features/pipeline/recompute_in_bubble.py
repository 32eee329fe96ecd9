# SPDX-License-Identifier: Apache-2.0
"""As many passes of an interleaved pipeline keep their activations as it has chunks; the others are recomputed in bubbles.

A stage holds up to stages - 1 passes more than that. Of a pass that would be one too many each layer keeps its input only,
and is computed again before the stage waits for the gradient of that pass.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from mindspeed.adaptor import Conflict, Feature, Flag, Level, Patch
from mindspeed.features.pipeline import _passes
from mindspeed.features.pipeline._passes import Function, Pass, Schedule


def _stages() -> int:
    from megatron.core import parallel_state

    return int(parallel_state.get_pipeline_model_parallel_world_size())


def choose(schedule: Schedule, one: Pass) -> None:
    """Between this forward pass and the next one a pass may come to be computed again, which takes its place too."""
    most = _stages() * schedule.chunks
    coming = schedule.next is not None and schedule.next.is_again
    one.is_again = schedule.kept() + 1 + coming > most


def in_pass(forward: Function) -> Function:
    """TransformerLayer.forward, of a pass that is followed."""

    @functools.wraps(forward)
    def layer(self: Any, *args: Any, **kwargs: Any) -> Any:
        one = Schedule.now.current if Schedule.now is not None else None
        if one is None or not one.is_again or not torch.is_grad_enabled():
            return forward(self, *args, **kwargs)
        values = [*args, *kwargs.values()]
        places = [
            index for index, value in enumerate(values) if isinstance(value, Tensor) and value.requires_grad
        ]

        def run(*inputs: Tensor) -> Any:
            given = list(values)
            for index, value in zip(places, inputs, strict=True):
                given[index] = value
            return forward(self, *given[: len(args)], **dict(zip(kwargs, given[len(args) :], strict=True)))

        inputs = [values[index] for index in places]
        for index in places:
            values[index] = None  # kept by the piece, outside of the graph
        return one.run(run, *inputs)

    return layer


def check(args: Any) -> Iterator[str]:
    yield from _passes.problems(args, "--recompute-in-bubble")
    granularity = getattr(args, "recompute_granularity", None)
    if granularity is not None:
        yield (
            f"it chooses what is recomputed; leave out --recompute-granularity {granularity}, or give --recompute-in-advance "
            "with --recompute-granularity full"
        )


FEATURE = Feature(
    name="recompute-in-bubble",
    level=Level.ACCELERATION,
    flags=(
        Flag(
            "--recompute-in-bubble",
            "Recompute passes of an interleaved pipeline that would be more than its chunks, while gradients come.",
        ),
    ),
    conflicts=(
        Conflict(
            feature="swap-attention", why="one keeps of a layer its input, the other what attention needs"
        ),
    ),
    check=check,
    patches=(
        *_passes.patches(choose),
        Patch("megatron.core.transformer.transformer_layer:TransformerLayer.forward", in_pass, wraps=True),
    ),
)
