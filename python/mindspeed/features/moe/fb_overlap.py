# SPDX-License-Identifier: Apache-2.0
"""The forward pass of a micro-batch is computed beside the backward pass of the one before, and covers its messages.

Tokens of experts travel in both, and the passes of different micro-batches need nothing of each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from mindspeed.adaptor import Conflict, Feature, Flag, Level, Need, Patch
from mindspeed.features.moe import _beside
from mindspeed.features.pipeline import _pairs_run

_STATE = "megatron.core.parallel_state"
_SCHEDULES = "megatron.core.pipeline_parallel.schedules"
_PIPELINES = (
    "forward_backward_pipelining_without_interleaving",
    "forward_backward_pipelining_with_interleaving",
)
# Of torch.distributed; the last two are newer names.
_COLLECTIVES = (
    "all_reduce", "all_gather", "all_gather_into_tensor", "reduce_scatter", "reduce_scatter_tensor", "all_to_all",
    "all_to_all_single", "broadcast", "reduce", "all_gather_single", "reduce_scatter_single",
)  # fmt: skip
_SCALERS = (
    "megatron.core.transformer.moe.moe_utils:MoEAuxLossAutoScaler",
    "megatron.core.transformer.multi_token_prediction:MTPLossAutoScaler",
)
# What a backward pass communicates or computes there is in the order of one host thread, or draws random numbers.
_REFUSED = {
    "overlap_grad_reduce": "gradients are reduced behind the last pass; leave out --overlap-grad-reduce",
    "use_custom_fsdp": "its parameters are gathered in passes; leave out --use-custom-fsdp",
    "use_torch_fsdp2": "its parameters are gathered in passes; leave out --use-torch-fsdp2",
    "recompute_granularity": "two passes would draw random numbers at once; leave out --recompute-granularity",
    "moe_unperm2_mem_optim_swap": (
        "--moe-unperm2-mem-optim-swap takes what the way back of tokens keeps to the host, which does not exist here; leave it out"
    ),
    "enable_cuda_graph": "passes of two streams are no graph; leave out --enable-cuda-graph",
}
_IN_PIPELINES = {
    "variable_seq_lengths": "messages between stages have one length here; leave out --variable-seq-lengths",
    "defer_embedding_wgrad_compute": "it counts passes of Megatron's schedule; leave out --defer-embedding-wgrad-compute",
    "encoder_pipeline_model_parallel_size": (
        "messages between stages are one tensor here; leave out --encoder-pipeline-model-parallel-size"
    ),
}
_ONE = {
    "context_parallel_size": "ranks with parts of a sequence exchange messages in both passes, in one group",
}


def check(args: Any) -> Iterator[str]:
    for name, why in _ONE.items():
        if (getattr(args, name, None) or 1) > 1:
            yield f"--{name.replace('_', '-')} is {getattr(args, name)}: {why}; give 1, or leave out --moe-fb-overlap"
    if getattr(args, "num_experts", None) and (getattr(args, "expert_model_parallel_size", None) or 1) == 1:
        yield "--expert-model-parallel-size is 1, so no tokens travel; give 2 or more, or leave out --moe-fb-overlap"
    kind = getattr(args, "moe_token_dispatcher_type", "allgather")
    if kind != "alltoall":
        yield f"--moe-token-dispatcher-type is {kind}; give alltoall, or leave out --moe-fb-overlap"
    has_stages = (getattr(args, "pipeline_model_parallel_size", None) or 1) > 1
    for name, why in (_REFUSED | (_IN_PIPELINES if has_stages else {})).items():
        if getattr(args, name, None):
            yield why


FEATURE = Feature(
    name="moe-fb-overlap",
    level=Level.ACCELERATION,
    until="0.13",  # whose schedules are called in another way
    flags=(
        Flag(
            "--moe-fb-overlap",
            "Compute the forward pass of a micro-batch beside the backward pass of the one before.",
        ),
        Flag(
            "--moe-unperm2-mem-optim-swap", "Keep less of the way back of tokens; refused.", in_config=False
        ),
    ),
    conflicts=(
        *(
            Conflict(
                feature=name,
                why="it chooses the order of one backward pass, and there is another pass beside it",
            )
            for name in ("moe-alltoall-overlap-comm", "moe-allgather-overlap-comm")
        ),
        *(
            Conflict(feature=name, why="what it keeps of passes is for one pass at a time")
            for name in (
                "swap-attention",
                "moe-zero-memory",
                "recompute-activation-function",
                "recompute-norm",
                "recompute-in-bubble",
                "recompute-in-advance",
            )
        ),
        *(
            Conflict(
                feature=name,
                why="its messages in backward passes are in the group of those in forward passes",
            )
            for name in ("ascend-mc2", "ascend-coc")
        ),
        Conflict(
            feature="multiparameter-pipeline",
            why="messages between stages are one tensor where passes are pairs",
        ),
        Conflict(feature="optimize-send-recv-comm", why="both send messages between stages in their own way"),
        Conflict(
            feature="dualpipev-dw-detach", why="gradients of weights are no passes of their own in a pair"
        ),
        Conflict(feature="moe-model-type", why="its messages follow Megatron's in one group of ranks"),
    ),
    needs=(Need(flag="--num-experts", why="a model without experts has no tokens that travel"),),
    check=check,
    patches=(
        *(
            Patch(f"torch.distributed:{name}", _beside.by_pass, wraps=True)
            for name in _COLLECTIVES
            if hasattr(torch.distributed, name)
        ),
        Patch(f"{_STATE}:get_global_memory_buffer", _beside.by_stream, wraps=True),
        *(Patch(f"{target}.set_loss_scale", _beside.once, wraps=True) for target in _SCALERS),
        Patch(
            f"{_SCHEDULES}:forward_backward_no_pipelining",
            _beside.without_pipeline,
            wraps=True,
        ),
        *(Patch(f"{_SCHEDULES}:{name}", _pairs_run.in_pairs, wraps=True) for name in _PIPELINES),
    ),
)
