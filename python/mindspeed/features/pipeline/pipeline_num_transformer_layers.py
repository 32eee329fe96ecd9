# SPDX-License-Identifier: Apache-2.0
"""Each chunk of the pipeline has as many layers as it is told, none included.

Megatron deals layers out evenly, but for the first and the last stage. Here a matrix says how many layers each chunk has, a row for
each stage; layers are numbered as they run: the first chunk of each stage, then the second of each.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

from mindspeed.adaptor import Conflict, Feature, Flag, Level, Need, Patch, session

Matrix = tuple[tuple[int, ...], ...]  # of each stage, of each of its chunks
_ROW = re.compile(r"\[([\d,]+)\](?:\*(\d+))?,?")


def matrix(text: str) -> Matrix:
    """'[[0,1],[1,1]*2,[3,0]]' -> ((0, 1), (1, 1), (1, 1), (3, 0))"""
    inside = re.sub(r"\s", "", text)
    if not re.fullmatch(rf"\[({_ROW.pattern})+\]", inside):
        raise ValueError(text)
    rows: list[tuple[int, ...]] = []
    for numbers, times in _ROW.findall(inside[1:-1]):
        row = tuple(int(number) for number in numbers.split(",") if number)
        rows.extend([row] * int(times or 1))
    return tuple(rows)


def layers_before(layers: Matrix, stage: int, chunk: int) -> int:
    """In the order in which they run."""
    earlier = sum(row[place] for row in layers for place in range(chunk))
    return earlier + sum(row[chunk] for row in layers[:stage])


def _place(chunk: int | None, stage: int | None) -> tuple[int, int]:
    from megatron.core import parallel_state

    if stage is None:
        stage = parallel_state.get_pipeline_model_parallel_rank()
    if chunk is None:  # earlier releases keep it in one place
        chunk = parallel_state.get_virtual_pipeline_model_parallel_rank()
    return stage, chunk or 0


def _layers() -> Matrix:
    found: Matrix = session.current_arguments().pipeline_num_transformer_layers
    return found


def counting(get_num_layers_to_build: Callable[..., int]) -> Callable[..., int]:
    @functools.wraps(get_num_layers_to_build)
    def told(config: Any, vp_stage: int | None = None, pp_rank: int | None = None) -> int:
        stage, chunk = _place(vp_stage, pp_rank)
        return _layers()[stage][chunk]

    return told


def numbering(get_transformer_layer_offset: Callable[..., int]) -> Callable[..., int]:
    @functools.wraps(get_transformer_layer_offset)
    def told(config: Any, vp_stage: int | None = None, pp_rank: int | None = None) -> int:
        return layers_before(_layers(), *_place(vp_stage, pp_rank))

    return told


def copying(forward: Callable[..., Any]) -> Callable[..., Any]:
    """TransformerBlock.forward: schedules free what a stage has sent, which without layers is what it was given."""

    @functools.wraps(forward)
    def copied(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = forward(self, *args, **kwargs)
        return result if len(self.layers) or isinstance(result, tuple) else result.clone()

    return copied


def _chunks(args: Any) -> int:
    """Of a stage, as Megatron will find them."""
    found = getattr(args, "virtual_pipeline_model_parallel_size", None)
    if found:
        return int(found)
    given = getattr(args, "num_virtual_stages_per_pipeline_rank", None)
    if given:
        return int(given)
    each = getattr(args, "num_layers_per_virtual_pipeline_stage", None)
    return int(args.num_layers // args.pipeline_model_parallel_size // each) if each else 1


def check(args: Any) -> Iterator[str]:
    flag, rows = "--pipeline-num-transformer-layers", args.pipeline_num_transformer_layers
    stages = getattr(args, "pipeline_model_parallel_size", None)
    if stages is not None and len(rows) != stages:
        yield f"{flag} has {len(rows)} rows, and --pipeline-model-parallel-size is {stages}: give a row for each stage"
    elif stages is not None and getattr(args, "num_layers", None) is not None:
        chunks = _chunks(args)
        wrong = [list(row) for row in rows if len(row) != chunks]
        if wrong:
            yield f"{flag} has the row {wrong[0]}, and a stage has {chunks} chunks: give a number for each"
    layers, total = getattr(args, "num_layers", None), sum(map(sum, rows))
    if layers is not None and total != layers:
        yield f"{flag} has {total} layers, and --num-layers is {layers}: give as many"


FEATURE = Feature(
    name="pipeline-num-transformer-layers",
    level=Level.ACCELERATION,
    flags=(
        Flag(
            "--pipeline-num-transformer-layers",
            "How many layers each chunk has, a row for each stage: [[0,1],[1,1]*2,[3,0]].",
            type=matrix,
            metavar="MATRIX",
            in_config=False,
        ),
    ),
    conflicts=(Conflict(feature="noop-layers", why="both say which chunks have fewer layers"),),
    needs=(
        Need(
            flag="--pipeline-model-parallel-size",
            why="its rows are stages",
            holds=lambda args: getattr(args, "pipeline_model_parallel_size", 2) > 1,
        ),
    ),
    check=check,
    patches=(
        Patch("megatron.core.transformer.transformer_block:TransformerBlock.forward", copying, wraps=True),
        Patch("megatron.core.transformer.transformer_block:get_num_layers_to_build", counting, wraps=True),
        Patch(
            "megatron.core.transformer.transformer_layer:get_transformer_layer_offset", numbering, wraps=True
        ),
    ),
)
