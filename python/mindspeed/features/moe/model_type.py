# SPDX-License-Identifier: Apache-2.0
"""Which implementation of experts a command line means: Megatron's, or of a fixed capacity that drops tokens (deepspeed_moe).

Those are experts as GShard and DeepSpeed have them: tokens that come late to a full expert are dropped. The layer is Megatron Core's, with its parameters and their names; what decides who computes which token, and how tokens travel,
is another (_gshard.py). The original has these experts in Megatron's legacy models only.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

from mindspeed.adaptor import Conflict, Feature, Flag, Level, Need, Patch
from mindspeed.features.moe import _gshard

KIND = "deepspeed_moe"
# Of Megatron's own router and dispatchers, without a counterpart here: value that it has when nobody gave it.
_OF_MEGATRON: dict[str, Any] = {
    "moe_grouped_gemm": False,
    "moe_expert_capacity_factor": None,
    "moe_router_score_function": "softmax",
    "moe_router_enable_expert_bias": False,
    "moe_router_num_groups": None,
    "moe_router_topk_scaling_factor": None,
    "moe_input_jitter_eps": None,
    "moe_shared_expert_overlap": False,
    "fp8": None,
}


def is_on(args: Any) -> bool:
    return getattr(args, "moe_model_type", None) == KIND


def check(args: Any) -> Iterator[str]:
    choices = getattr(args, "moe_router_topk", 2)
    if choices not in (1, 2):
        yield f"--moe-router-topk is {choices}; a token has 1 or 2 experts of --moe-model-type {KIND}"
    if not args.moe_train_capacity_factor > 0:
        yield f"--moe-train-capacity-factor is {args.moe_train_capacity_factor}, wanted more than 0"
    if getattr(args, "moe_router_load_balancing_type", "aux_loss") not in ("aux_loss", "none"):
        yield (
            f"--moe-router-load-balancing-type {args.moe_router_load_balancing_type} is of Megatron's own router; leave it out, or "
            f"leave out --moe-model-type {KIND}"
        )
    if getattr(args, "add_bias_linear", False):
        yield "its experts have no biases; give --disable-bias-linear"
    for name, usual in _OF_MEGATRON.items():
        if getattr(args, name, usual) not in (usual, None, False):
            flag = f"--{name.replace('_', '-')}"
            if name == "fp8":
                flag = "--fp8-format"
            yield f"{flag} is for Megatron's own experts; leave it out, or leave out --moe-model-type {KIND}"
    sizes = [getattr(args, f"{word}_parallel_size", 1) or 1 for word in ("tensor_model", "expert_model")]
    if sizes[0] > 1 and not getattr(args, "sequence_parallel", False):
        yield "with --tensor-model-parallel-size 2 or more each rank routes tokens of its own; give --sequence-parallel"


def adjust(args: Any) -> None:
    args.moe_router_pre_softmax = True  # what Megatron wants to hear of one choice, and what the gate does
    if getattr(args, "use_legacy_models", False):
        args.use_legacy_models = False
        warnings.warn(
            f"--use-legacy-models with --moe-model-type {KIND}: the model is built of Megatron Core's layers, and so are its checkpoints",
            stacklevel=2,
        )


FEATURE = Feature(
    name="moe-model-type",
    level=Level.COMPATIBILITY,
    until="0.13",  # whose layer is called in other parts
    flags=(
        Flag(
            "--moe-model-type",
            "The implementation of experts: Megatron's own, or of a fixed capacity, which drops tokens.",
            type=str,
            choices=("megatron_moe", KIND),
        ),
        Flag(
            "--moe-train-capacity-factor",
            "An expert of deepspeed_moe takes so many times its even share of a rank's tokens.",
            type=float,
            default=1.0,
        ),
        Flag("--enable-token-rearrange-opt", "Tokens are gathered by index, not by products; always so."),
    ),
    switch=is_on,
    needs=(Need(flag="--num-experts", why="it is a kind of experts"),),
    conflicts=(
        *(
            Conflict(feature=name, why="it is about Megatron's dispatchers, which are not used")
            for name in ("moe-permutation-async-comm", "fix-router")
        ),
        Conflict(feature="moe-zero-memory", why="it is about Megatron's own experts"),
    ),
    check=check,
    adjust=adjust,
    patches=(Patch("megatron.core.transformer.moe.moe_layer:MoELayer.forward", _gshard.forward),),
)
