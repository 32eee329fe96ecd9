# SPDX-License-Identifier: Apache-2.0
"""--fix-router: experts in turn, with the probabilities that the router gave."""

from __future__ import annotations

from argparse import Namespace

import pytest
import torch
from mindspeed.adaptor import Level, rules
from mindspeed.features.tooling import fix_router

TOKENS, EXPERTS, COUNT = 24, 8, 3


def routed(logits: torch.Tensor, topk: int, counted: bool) -> tuple[torch.Tensor, ...]:
    """As Megatron does: softmax of the largest."""
    values, places = logits.topk(topk, dim=1)
    chosen = torch.zeros_like(logits, dtype=torch.bool).scatter(1, places, True)
    found = torch.zeros_like(logits).scatter(1, places, values.softmax(1)), chosen
    return (*found, chosen.sum(0)) if counted else found


@pytest.mark.parametrize("counted", [True, False])
def test_experts_have_the_same_load(counted: bool) -> None:
    torch.manual_seed(4)
    logits = torch.randn(TOKENS, EXPERTS, requires_grad=True)
    probabilities, chosen, *counts = fix_router.balancing(routed)(logits, COUNT, counted)
    before, _, *_ = routed(logits, COUNT, counted)
    assert chosen.dtype == torch.bool and chosen.sum(1).tolist() == [COUNT] * TOKENS
    assert chosen.sum(0).tolist() == [TOKENS * COUNT // EXPERTS] * EXPERTS
    assert len(counts) == counted and all(torch.equal(count, chosen.sum(0)) for count in counts)
    assert torch.equal(probabilities.topk(COUNT, dim=1).values, before.topk(COUNT, dim=1).values)
    assert not probabilities[~chosen].any()
    probabilities.square().sum().backward()
    gradient, logits.grad = logits.grad, None
    before.square().sum().backward()
    assert torch.equal(gradient, logits.grad)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, ""),
        ({"num_experts": 4}, ""),
        ({"num_experts": None}, "needs --num-experts"),
        ({"moe_router_load_balancing_type": "sinkhorn"}, "sinkhorn chooses experts in another way"),
        ({"moe_expert_capacity_factor": 1.0}, "--moe-expert-capacity-factor drops tokens"),
    ],
)
def test_rules(given: dict[str, object], problem: str) -> None:
    found = rules.problems([fix_router.FEATURE], Namespace(fix_router=True, **given), Level.ACCELERATION)
    assert len(found) == bool(problem) and problem in "".join(found)
