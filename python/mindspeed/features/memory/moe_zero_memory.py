# SPDX-License-Identifier: Apache-2.0
"""Layers of experts keep less: what experts compute between their two products, or all between their input and output.

level0  experts, the shared ones too, compute their first product and the activation function again in the backward pass.
level1  the whole layer runs again, messages included, in some layers or in all; of it only the input is kept.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from mindspeed.adaptor import Conflict, Feature, Flag, Level, Need, Patch
from mindspeed.features.memory._middle import Middle, without_middle
from mindspeed.features.memory._own_weight import own_weight
from mindspeed.features.memory._place import is_chosen, numbering

_FLAG, _PLACE = "--moe-zero-memory", "_place_for_experts"
OFF, EXPERTS, LAYER = "disable", "level0", "level1"
Forward = Callable[..., Any]


def keeping_input_of_layer(forward: Forward) -> Forward:
    """MoELayer.forward."""

    @functools.wraps(forward)
    def kept(self: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        config = self.config
        is_on = config.moe_zero_memory == LAYER and not self.moe_layer_recompute and self.training
        if not is_on or not is_chosen(config, getattr(self, _PLACE, 0), config.moe_zero_memory_num_layers):
            return forward(self, hidden_states, *args, **kwargs)
        from megatron.core import tensor_parallel

        def layer(hidden: Tensor) -> Any:
            return forward(self, hidden, *args, **kwargs)

        return tensor_parallel.checkpoint(layer, False, hidden_states)

    return kept


def keeping_input_of_experts(forward: Forward) -> Forward:
    """GroupedMLP.forward."""

    @functools.wraps(forward)
    def kept(self: Any, tokens: Tensor, *args: Any) -> Any:
        if self.config.moe_zero_memory != EXPERTS or not torch.is_grad_enabled() or tokens.numel() == 0:
            return forward(self, tokens, *args)
        return without_middle(functools.partial(forward, self), _FLAG, "an expert", tokens, *args)

    return kept


def counted(ops: Any) -> Any:
    """grouped_gemm.ops: the second product of experts is their last one."""

    def gmm(a: Tensor, *args: Any, **kwargs: Any) -> Any:
        middle = Middle.now
        if middle is None:
            return ops.gmm(a, *args, **kwargs)
        middle.products += 1
        if middle.products == 1:
            return ops.gmm(a, *args, **kwargs)
        return middle.last(a, lambda x: ops.gmm(x, *args, **kwargs))

    return SimpleNamespace(gmm=gmm)


def keeping_input_of_shared(forward: Forward) -> Forward:
    """SharedExpertMLP.forward, whose last product is that of linear_fc2."""

    @functools.wraps(forward)
    def kept(self: Any, hidden_states: Tensor) -> Any:
        if self.config.moe_zero_memory != EXPERTS or not torch.is_grad_enabled():
            return forward(self, hidden_states)
        product = self.linear_fc2.forward

        def last(x: Tensor) -> Any:
            middle = Middle.now
            return product(x) if middle is None else middle.last(x, product)

        def watched(hidden: Tensor) -> Any:
            self.linear_fc2.forward = last
            try:
                return forward(self, hidden)
            finally:
                del self.linear_fc2.forward

        return without_middle(watched, _FLAG, "the shared experts", hidden_states)

    return kept


def _wrong_number(args: Any) -> Iterator[str]:
    most = args.moe_zero_memory_num_layers
    if most is None:
        return
    if args.moe_zero_memory != LAYER:
        yield f"--moe-zero-memory-num-layers is for {LAYER}, level0 is for all layers; leave it out, or give {LAYER}"
    layers = getattr(args, "num_layers", None)
    stages = getattr(args, "pipeline_model_parallel_size", 1) or 1
    if most < 0 or (layers is not None and most > layers // stages):
        wanted = f"0 to the layers of a stage ({layers // stages})" if layers is not None else "0 or more"
        yield f"--moe-zero-memory-num-layers is {most}, wanted {wanted}"


def check(args: Any) -> Iterator[str]:
    yield from _wrong_number(args)
    is_te = getattr(args, "transformer_impl", "local") == "transformer_engine"
    if args.moe_zero_memory == EXPERTS and is_te and not getattr(args, "moe_use_legacy_grouped_gemm", False):
        yield (
            "--transformer-impl transformer_engine has other experts; give level1, --moe-use-legacy-grouped-gemm or "
            "--transformer-impl local"
        )
    if args.moe_zero_memory == EXPERTS and getattr(args, "moe_shared_expert_overlap", False):
        yield (
            "--moe-shared-expert-overlap computes shared experts in pieces; give level1 or --moe-alltoall-overlap-comm "
            "instead of it"
        )
    if getattr(args, "recompute_granularity", None) == "full" and args.recompute_method != "block":
        yield (
            "--recompute-granularity full without --recompute-method block recomputes every layer as a whole, its experts "
            "too; give --recompute-method block, or leave one of the two out"
        )


_MOE = "megatron.core.transformer.moe"
FEATURE = Feature(
    name="moe-zero-memory",
    level=Level.ACCELERATION,
    until="0.17",  # which has no experts by grouped_gemm any more
    flags=(
        Flag(
            _FLAG,
            "What layers of experts compute again in the backward pass: level0 up to the last product of experts, level1 all.",
            type=str,
            default=OFF,
            choices=(OFF, EXPERTS, LAYER),
        ),
        Flag(
            "--moe-zero-memory-num-layers",
            "level1: in so many layers of each pipeline stage's chunk, after those recomputed as a whole; default: in all.",
            type=int,
            metavar="N",
        ),
    ),
    switch=lambda args: getattr(args, "moe_zero_memory", OFF) not in (None, OFF),
    needs=(
        Need(flag="--num-experts", why="it is about experts"),
        Need(flag="--moe-grouped-gemm", why="it knows the products of all experts of a rank"),
    ),
    conflicts=(
        Conflict(
            feature="recompute-activation-function",
            why="both compute activation functions of experts again",
        ),
    ),
    check=check,
    is_outermost=True,
    patches=(
        Patch(
            "megatron.core.transformer.transformer_layer:TransformerLayer.__init__",
            numbering(_PLACE, lambda layer: (layer.mlp,)),
            wraps=True,
        ),
        Patch(f"{_MOE}.moe_layer:MoELayer.forward", keeping_input_of_layer, wraps=True),
        Patch(f"{_MOE}.experts:GroupedMLP.forward", keeping_input_of_experts, wraps=True),
        Patch(f"{_MOE}.grouped_gemm_util:ops", counted, wraps=True),
        Patch(f"{_MOE}.shared_experts:SharedExpertMLP.forward", keeping_input_of_shared, wraps=True),
        *own_weight(),
    ),
)
