# SPDX-License-Identifier: Apache-2.0
"""Ranks get copies of the busiest experts and compute their own tokens by them, so no rank has many more than others.

In each pass of a layer ranks tell each other how many tokens chose which expert, and all find the same experts to copy. Tokens of
those stay where they are; the others travel as ever.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from torch import Tensor

from mindspeed.adaptor import Conflict, Feature, Flag, Level, Need, Patch
from mindspeed.features.moe import _hot

_MOE = "megatron.core.transformer.moe"
_DISPATCHER = f"{_MOE}.token_dispatcher:MoEAlltoAllTokenDispatcher"
Function = Callable[..., Any]


class Balance:
    """Of the pass that goes on."""

    now: ClassVar[Balance | None] = None

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.copies: _hot.Copies | None = None

    @contextlib.contextmanager
    def going_on(self) -> Iterator[None]:
        before, Balance.now = Balance.now, self
        try:
            yield
        finally:
            Balance.now = before


def balanced(forward: Function) -> Function:
    """MoELayer.forward."""

    @functools.wraps(forward)
    def balanced_forward(self: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        with Balance(self).going_on():
            return forward(self, hidden_states, *args, **kwargs)

    return balanced_forward


def without_hot(token_permutation: Function) -> Function:
    @functools.wraps(token_permutation)
    def dispatched(self: Any, hidden_states: Tensor, probs: Tensor, routing_map: Tensor) -> Any:
        balance = Balance.now
        if balance is None:
            return token_permutation(self, hidden_states, probs, routing_map)
        balance.copies = _hot.Copies(balance.layer, hidden_states, probs, routing_map)
        return token_permutation(self, hidden_states, probs, balance.copies.cold_map)

    return dispatched


def counting(preprocess: Function) -> Function:
    """Megatron's dispatcher takes it for granted that all choices of all tokens leave."""

    @functools.wraps(preprocess)
    def counted(self: Any, routing_map: Tensor) -> Any:
        result = preprocess(self, routing_map)
        if Balance.now is not None and Balance.now.copies is not None:
            self.num_out_tokens = Balance.now.copies.cold_rows
        return result

    return counted


def with_hot(token_unpermutation: Function) -> Function:
    @functools.wraps(token_unpermutation)
    def combined(self: Any, *args: Any, **kwargs: Any) -> Any:
        output, bias = token_unpermutation(self, *args, **kwargs)
        copies = None if Balance.now is None else Balance.now.copies
        more = None if copies is None else copies.output()
        return (output if more is None else output + more), bias

    return combined


def check(args: Any) -> Iterator[str]:
    copies, lanes = args.balanced_moe_hot_expert_num, args.trans_hot_expert_group_num
    if copies < 1:
        yield f"--balanced-moe-hot-expert-num is {copies}, wanted 1 or more"
    if not 1 <= lanes <= 8:
        yield f"--trans-hot-expert-group-num is {lanes}, wanted 1 to 8"
    ranks = getattr(args, "expert_model_parallel_size", 1) or 1
    experts = getattr(args, "num_experts", None)
    if ranks == 1:
        yield "--expert-model-parallel-size is 1, so every rank has all experts; give 2 or more"
    elif experts is not None and copies > experts // ranks:
        yield (
            f"--balanced-moe-hot-expert-num is {copies}, and a rank has {experts // ranks} experts: more copies than that are "
            "more weights on the way than a rank has; give as many or fewer"
        )
    kind = getattr(args, "moe_token_dispatcher_type", "allgather")
    if kind != "alltoall":
        yield f"--moe-token-dispatcher-type is {kind}; give alltoall, or leave out --balanced-moe-experts"
    tensor = (
        getattr(args, "expert_tensor_parallel_size", None)
        or getattr(args, "tensor_model_parallel_size", 1)
        or 1
    )
    if tensor > 1:
        yield (
            f"experts are copied whole, and {tensor} tensor-parallel ranks (--tensor-model-parallel-size) have slices of them; give "
            "--expert-tensor-parallel-size 1"
        )
    if (getattr(args, "pipeline_model_parallel_size", None) or 1) > 1:
        yield (
            "--pipeline-model-parallel-size: groups of ranks for copies are made in the first pass, which stages do not begin together; "
            "give 1, or leave out --balanced-moe-experts"
        )
    if getattr(args, "moe_expert_capacity_factor", None) is not None:
        yield "--moe-expert-capacity-factor drops tokens of full experts, and copies keep them from being full; leave one out"
    if "moe" in (getattr(args, "recompute_modules", None) or ()):
        yield "--recompute-modules moe computes a part of the layer again; leave moe out"
    if getattr(args, "transformer_impl", "local") == "transformer_engine" and not getattr(
        args, "moe_use_legacy_grouped_gemm", False
    ):
        yield (
            "--transformer-impl transformer_engine has experts with a weight each; give --moe-use-legacy-grouped-gemm or "
            "--transformer-impl local"
        )


FEATURE = Feature(
    name="balanced-moe-experts",
    level=Level.ACCELERATION,
    until="0.13",  # whose dispatchers work in other parts
    flags=(
        Flag("--balanced-moe-experts", "Ranks get copies of the busiest experts for their own tokens."),
        Flag(
            "--balanced-moe-hot-expert-num",
            "At most so many experts of a layer are copied.",
            type=int,
            default=3,
            metavar="N",
        ),
        Flag(
            "--trans-hot-expert-group-num",
            "So many groups of ranks carry weights and gradients of copies at once, 1 to 8.",
            type=int,
            default=3,
            metavar="N",
        ),
    ),
    conflicts=(
        *(
            Conflict(
                feature=name,
                why="it computes gradients of the weights that a rank has by itself, not of copies",
            )
            for name in ("moe-alltoall-overlap-comm", "moe-allgather-overlap-comm")
        ),
        Conflict(
            feature="moe-zero-memory",
            why="it keeps the inputs of one product of experts, and there are two here",
        ),
        Conflict(
            feature="moe-permutation-async-comm",
            why="it sorts all tokens of a rank before it is known which ones stay",
        ),
        Conflict(feature="moe-model-type", why="those experts have a capacity, and none is busier than it"),
    ),
    needs=(
        Need(flag="--num-experts", why="a model without experts has no busy ones"),
        Need(flag="--moe-grouped-gemm", why="copies are matrices of one product"),
    ),
    check=check,
    patches=(
        Patch(f"{_MOE}.moe_layer:MoELayer.forward", balanced, wraps=True),
        Patch(f"{_DISPATCHER}.token_permutation", without_hot, wraps=True, until="0.13.0"),
        Patch(f"{_DISPATCHER}.preprocess", counting, wraps=True),
        Patch(f"{_DISPATCHER}.token_unpermutation", with_hot, wraps=True, until="0.13.0"),
    ),
)
