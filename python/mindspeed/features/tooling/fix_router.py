# SPDX-License-Identifier: Apache-2.0
"""Tokens go to experts in turn instead of where the router sends them: for measurements, not for training.

Every expert has the same load, whatever the weights are. The router runs as it is, and each token's chosen
probabilities go with it, the largest to the first of its experts; so gradients flow as in training.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch

from mindspeed.adaptor import Feature, Flag, Level, Need, Patch

_UTILITIES = "megatron.core.transformer.moe.moe_utils"


def experts_in_turn(tokens: int, experts: int, count: int, device: torch.device) -> torch.Tensor:
    """Row t: the `count` experts of token t, which go on where those of the token before end."""
    return torch.arange(tokens * count, device=device).view(tokens, count) % experts


def balanced(probabilities: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities and map of what the router chose, [tokens, experts] with `count` in each row: in turn instead."""
    tokens, experts = probabilities.shape
    chosen = probabilities.topk(count, dim=1).values
    places = experts_in_turn(tokens, experts, count, probabilities.device)
    spread = torch.zeros_like(probabilities).scatter(1, places, chosen)
    return spread, torch.zeros_like(probabilities, dtype=torch.bool).scatter(1, places, True)


def balancing(route: Callable[..., tuple[torch.Tensor, ...]]) -> Callable[..., tuple[torch.Tensor, ...]]:
    """Megatron's choice of experts; before 0.14 it also counts the tokens of each."""

    @functools.wraps(route)
    def balanced_route(
        logits: torch.Tensor, topk: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, ...]:
        probabilities, _, *counted = route(logits, topk, *args, **kwargs)
        spread, routing_map = balanced(probabilities, topk)
        return spread, routing_map, *(routing_map.sum(dim=0) for _ in counted)

    return balanced_route


def check(args: Any) -> Iterator[str]:
    kinds = getattr(args, "moe_router_load_balancing_type", None)
    if "sinkhorn" in (kinds if isinstance(kinds, list) else [kinds]):  # a list in newer parsers
        yield "--moe-router-load-balancing-type sinkhorn chooses experts in another way; choose another type or leave out --fix-router"
    if getattr(args, "moe_expert_capacity_factor", None) is not None:
        yield "--moe-expert-capacity-factor drops tokens of full experts, and none is full here; leave one of the two out"


FEATURE = Feature(
    name="fix-router",
    level=Level.ACCELERATION,
    flags=(Flag("--fix-router", "Send tokens to experts in turn, for measurements."),),
    needs=(
        Need(
            flag="--num-experts",
            why="a model without experts has no router",
            # Programs on megatron.core alone have no such argument: their configs say how many there are.
            holds=lambda args: bool(getattr(args, "num_experts", True)),
        ),
    ),
    check=check,
    patches=(
        Patch(f"{_UTILITIES}:topk_softmax_with_capacity", balancing, wraps=True, until="0.14.0"),
        Patch(f"{_UTILITIES}:topk_routing_with_score_function", balancing, wraps=True, since="0.14.0"),
    ),
)
