# SPDX-License-Identifier: Apache-2.0
"""A pipeline in the shape of a V: each rank has a stage on the way down and one on the way back up.

The first and the last stage are on rank 0, so a micro-batch comes back to where it began, and its backward pass begins there.
With passes forward and backward in turns, ranks wait for less than half as long as in Megatron's plain pipeline, and hold about
as many activations. Where Megatron has its interleaved schedule of two chunks, the chunks are placed in another way here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

from mindspeed.adaptor import Conflict, Feature, Flag, Level, Patch
from mindspeed.features.pipeline import _vee_run
from mindspeed.features.pipeline._vee import Place

_STATE = "megatron.core.parallel_state"
CHUNKS = 2


def _place() -> tuple[int, int, Place]:
    from megatron.core import parallel_state

    chunk = parallel_state.get_virtual_pipeline_model_parallel_rank() or 0
    rank = parallel_state.get_pipeline_model_parallel_rank()
    return rank, chunk, Place(parallel_state.get_pipeline_model_parallel_world_size())


def last_is_first(is_pipeline_last_stage: Callable[..., bool]) -> Callable[..., bool]:
    """The last stage is chunk 1 of the first rank; the last rank, without chunks, is who it was."""

    @functools.wraps(is_pipeline_last_stage)
    def asked(ignore_virtual: bool = False) -> bool:
        rank, chunk, place = _place()
        if ignore_virtual or place.ranks == 1:
            return is_pipeline_last_stage(ignore_virtual)
        return place.stage(rank, chunk) == place.last

    return asked


def counting(get_num_layers_to_build: Callable[..., int]) -> Callable[..., int]:
    @functools.wraps(get_num_layers_to_build)
    def counted(config: Any, *args: Any, **kwargs: Any) -> int:
        return int(config.num_layers // (CHUNKS * config.pipeline_model_parallel_size))

    return counted


def numbering(get_transformer_layer_offset: Callable[..., int]) -> Callable[..., int]:
    @functools.wraps(get_transformer_layer_offset)
    def numbered(config: Any, *args: Any, **kwargs: Any) -> int:
        rank, chunk, place = _place()
        layers: int = config.num_layers // (CHUNKS * place.ranks)
        return place.stage(rank, chunk) * layers

    return numbered


def with_chunks(args: Any) -> None:
    """Megatron builds two chunks for each rank, as for its interleaved schedule."""
    args.num_virtual_stages_per_pipeline_rank = CHUNKS
    args.overlap_p2p_comm = True


_REFUSED = {
    "overlap_grad_reduce": "gradients are reduced behind the last pass; leave out --overlap-grad-reduce",
    "use_custom_fsdp": "its units are gathered in Megatron's own order; leave out --use-custom-fsdp",
    "use_torch_fsdp2": "its units are gathered in Megatron's own order; leave out --use-torch-fsdp2",
    "num_layers_per_virtual_pipeline_stage": "it says what chunks there are; leave out --num-layers-per-virtual-pipeline-stage",
    "mtp_num_layers": "the embedding of the layers that predict further tokens is not on their stage; leave out --mtp-num-layers",
    "variable_seq_lengths": "messages have one length; leave out --variable-seq-lengths",
    "defer_embedding_wgrad_compute": "leave out --defer-embedding-wgrad-compute",
    "decoder_first_pipeline_num_layers": "stages have the same number of layers; leave out --decoder-first-pipeline-num-layers",
    "decoder_last_pipeline_num_layers": "stages have the same number of layers; leave out --decoder-last-pipeline-num-layers",
}


def check(args: Any) -> Iterator[str]:
    ranks = getattr(args, "pipeline_model_parallel_size", None)
    if ranks is not None and ranks < 2:
        yield "a pipeline has --pipeline-model-parallel-size 2 or more"
    elif ranks is not None and getattr(args, "num_layers", None) and args.num_layers % (CHUNKS * ranks):
        yield (
            f"--num-layers {args.num_layers} is no multiple of the {CHUNKS * ranks} stages, two for each of "
            f"--pipeline-model-parallel-size {ranks}"
        )
    if getattr(args, "untie_embeddings_and_output_weights", True) is False:
        yield (
            "both weights would be on one rank, which Megatron adds up between ranks; "
            "give --untie-embeddings-and-output-weights"
        )
    chunks = getattr(args, "num_virtual_stages_per_pipeline_rank", None)
    if chunks not in (None, CHUNKS):
        yield f"it has two chunks; leave out --num-virtual-stages-per-pipeline-rank {chunks}"
    for name, why in _REFUSED.items():
        if getattr(args, name, None):
            yield why


FEATURE = Feature(
    name="schedules-method",
    level=Level.ACCELERATION,
    until="0.13",  # whose schedules are called in another way
    flags=(
        Flag(
            "--schedules-method",
            "dualpipev: a pipeline in the shape of a V, two stages on each rank.",
            type=str,
            choices=("dualpipev",),
            in_config=False,
        ),
    ),
    conflicts=(
        *(
            Conflict(feature=name, why="both say which layers a stage has")
            for name in ("noop-layers", "pipeline-num-transformer-layers")
        ),
        *(
            Conflict(feature=name, why="it follows Megatron's own interleaved schedule")
            for name in ("recompute-in-bubble", "recompute-in-advance")
        ),
    ),
    check=check,
    adjust=with_chunks,
    patches=(
        Patch(f"{_STATE}:is_pipeline_last_stage", last_is_first, wraps=True),
        Patch("megatron.core.transformer.transformer_block:get_num_layers_to_build", counting, wraps=True),
        Patch(
            "megatron.core.transformer.transformer_layer:get_transformer_layer_offset", numbering, wraps=True
        ),
        Patch(
            "megatron.core.pipeline_parallel.schedules:forward_backward_pipelining_with_interleaving",
            _vee_run.step,
        ),
    ),
)
