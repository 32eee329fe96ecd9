# SPDX-License-Identifier: Apache-2.0
"""The number of layers to recompute is that of a pipeline stage, shared evenly among its model chunks.

Megatron takes --recompute-num-layers for each chunk of an interleaved pipeline, so the least that recomputes anything is
a layer of every chunk.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

from mindspeed.adaptor import Feature, Flag, Level, Patch


def chunk_of(config: Any, stage: int | None) -> tuple[int, int]:
    """Which chunk of its pipeline stage a module is part of, and how many there are; `stage` as Megatron told it."""
    chunks = getattr(config, "virtual_pipeline_model_parallel_size", None) or 1
    if chunks == 1:
        return 0, 1
    if stage is None:  # earlier releases keep it in one place
        from megatron.core import parallel_state

        stage = parallel_state.get_virtual_pipeline_model_parallel_rank()
    return stage or 0, chunks


def place_in_stage(place: int, config: Any, stage: int | None) -> int:
    """Of the layer at `place` of its chunk: layers come in turn from each chunk."""
    chunk, chunks = chunk_of(config, stage)
    return place * chunks + chunk


def share(layers: int, chunk: int, chunks: int) -> int:
    """How many of `layers` that are dealt out in turn a chunk gets."""
    return max(0, (layers - chunk + chunks - 1) // chunks)


def sharing(checkpointed: Callable[..., Any]) -> Callable[..., Any]:
    """TransformerBlock._checkpointed_forward, a function from 0.18 on, with the chunk's share as the number of layers."""

    @functools.wraps(checkpointed)
    def _checkpointed_forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        config = self.config
        if config.recompute_method != "block":
            return checkpointed(self, *args, **kwargs)
        self.config = copy.copy(config)
        self.config.recompute_num_layers = share(
            config.recompute_num_layers, *chunk_of(config, getattr(self, "vp_stage", None))
        )
        try:
            return checkpointed(self, *args, **kwargs)
        finally:
            self.config = config

    return _checkpointed_forward


FEATURE = Feature(
    name="recompute-layers-per-stage",
    level=Level.ACCELERATION,
    flags=(
        Flag(
            "--enable-recompute-layers-per-pp-rank",
            "Numbers of layers to recompute are per pipeline stage, not per model chunk of a stage.",
        ),
    ),
    patches=(
        Patch(
            "megatron.core.transformer.transformer_block:TransformerBlock._checkpointed_forward",
            sharing,
            wraps=True,
            until="0.18",
        ),
        Patch(
            "megatron.core.transformer.transformer_block:checkpointed_forward",
            sharing,
            wraps=True,
            since="0.18",
        ),
    ),
)
