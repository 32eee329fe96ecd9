# SPDX-License-Identifier: Apache-2.0
"""The forward pass of a micro-batch is computed beside the backward pass of the one before, and covers its messages.

Tokens of experts travel in both, and the passes of different micro-batches need nothing of each other. From 0.14 on Megatron Core
does it itself (--overlap-moe-expert-parallel-comm), and then that runs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch

from mindspeed.adaptor import Conflict, Feature, Flag, Level, Native, Need, Patch
from mindspeed.features.moe import _beside
from mindspeed.features.pipeline import _pairs_run

_OURS, _MEGATRONS = "0.13", "0.14"  # schedules of 0.13 are called in another way
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


def _check_experts(args: Any, kinds: tuple[str, ...]) -> Iterator[str]:
    if getattr(args, "num_experts", None) and (getattr(args, "expert_model_parallel_size", None) or 1) == 1:
        yield "--expert-model-parallel-size is 1, so no tokens travel; give 2 or more, or leave out --moe-fb-overlap"
    kind = getattr(args, "moe_token_dispatcher_type", "allgather")
    if kind not in kinds:
        yield f"--moe-token-dispatcher-type is {kind}; give alltoall, or leave out --moe-fb-overlap"


def check(args: Any) -> Iterator[str]:
    for name, why in _ONE.items():
        if (getattr(args, name, None) or 1) > 1:
            yield f"--{name.replace('_', '-')} is {getattr(args, name)}: {why}; give 1, or leave out --moe-fb-overlap"
    yield from _check_experts(args, ("alltoall",))
    has_stages = (getattr(args, "pipeline_model_parallel_size", None) or 1) > 1
    for name, why in (_REFUSED | (_IN_PIPELINES if has_stages else {})).items():
        if getattr(args, name, None):
            yield why


def with_megatrons(args: Any) -> None:
    args.overlap_moe_expert_parallel_comm = True


def check_megatrons(args: Any) -> Iterator[str]:
    """What Megatron's way asks for, whose own errors name a flag that nobody gave. Programs that make their configurations themselves
    have not all of these arguments, and get Megatron's errors."""
    leave = "or leave out --moe-fb-overlap"
    if getattr(args, "bf16", None) is False and not getattr(args, "fp16", True):
        yield f"Megatron's way is for 16 bits; give --bf16 or --fp16, {leave}"
    chunks = ("virtual_pipeline_model_parallel_size", "num_layers_per_virtual_pipeline_stage",
              "num_virtual_stages_per_pipeline_rank", "pipeline_model_parallel_layout")  # fmt: skip
    is_whole = not any(getattr(args, name, None) for name in chunks)
    if (getattr(args, "pipeline_model_parallel_size", None) or 1) > 1 and is_whole:
        yield f"Megatron's way is for stages of several chunks; give --num-layers-per-virtual-pipeline-stage, {leave}"
    if getattr(args, "recompute_granularity", None) == "full":
        yield f"--recompute-granularity is full: Megatron's way runs layers in parts; give selective, {leave}"
    if getattr(args, "moe_shared_expert_overlap", None):
        yield f"both cover messages of experts; leave out --moe-shared-expert-overlap, {leave}"
    if (getattr(args, "mtp_num_layers", None) or 0) > 1:
        yield f"--mtp-num-layers is {args.mtp_num_layers}: Megatron's way predicts one further token; give 1, {leave}"
    if getattr(args, "moe_unperm2_mem_optim_swap", None):
        yield _REFUSED["moe_unperm2_mem_optim_swap"]
    yield from _check_experts(args, ("alltoall", "flex"))


def in_configuration(post_init: Callable[..., None]) -> Callable[..., None]:
    """TransformerConfig.__post_init__, for programs that make their configurations themselves."""

    @functools.wraps(post_init)
    def __post_init__(self: Any) -> None:
        if self.moe_fb_overlap and self.num_moe_experts:
            self.overlap_moe_expert_parallel_comm = True
        post_init(self)

    return __post_init__


FEATURE = Feature(
    name="moe-fb-overlap",
    level=Level.ACCELERATION,
    until=_OURS,
    native=Native(
        since=_MEGATRONS,
        flag="--overlap-moe-expert-parallel-comm",
        adjust=with_megatrons,
        check=check_megatrons,
    ),
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
            Patch(
                f"torch.distributed:{name}",
                _beside.by_pass,
                wraps=True,
                until=_OURS,
                versions_of="megatron-core",
            )
            for name in _COLLECTIVES
            if hasattr(torch.distributed, name)
        ),
        Patch(f"{_STATE}:get_global_memory_buffer", _beside.by_stream, wraps=True, until=_OURS),
        *(Patch(f"{target}.set_loss_scale", _beside.once, wraps=True, until=_OURS) for target in _SCALERS),
        Patch(
            f"{_SCHEDULES}:forward_backward_no_pipelining",
            _beside.without_pipeline,
            wraps=True,
            until=_OURS,
        ),
        *(Patch(f"{_SCHEDULES}:{name}", _pairs_run.in_pairs, wraps=True, until=_OURS) for name in _PIPELINES),
        Patch(
            "megatron.core.transformer.transformer_config:TransformerConfig.__post_init__",
            in_configuration,
            wraps=True,
            since=_MEGATRONS,
        ),
    ),
)
