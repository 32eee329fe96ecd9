# SPDX-License-Identifier: Apache-2.0
"""--n-shared-experts: the model with shared experts of that width, by their number."""

from __future__ import annotations

import re
from argparse import Namespace
from typing import Any

import megatron_gpt
import pytest
from mindspeed import megatron_adaptor
from mindspeed.adaptor import Level, rules
from mindspeed.features.moe import shared_experts as feature


def test_losses_are_those_of_that_width(switch: Any) -> None:
    size = megatron_gpt.Size(layers=1, experts=4)
    wanted = megatron_gpt.losses(size, 3, moe_shared_expert_intermediate_size=2 * size.hidden)
    without = megatron_gpt.losses(size, 3)
    switch(optimization_level=0, n_shared_experts=2, num_experts=4)
    try:
        assert megatron_gpt.losses(size, 3) == wanted != without
    finally:
        megatron_adaptor.repatch({"n_shared_experts": None, "num_experts": None})


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"moe_ffn_hidden_size": 24, "ffn_hidden_size": 48}, 48),
        ({"ffn_hidden_size": 48}, 96),
        ({"hidden_size": 16}, 128),
        ({"hidden_size": 96, "swiglu": True}, 512),
        ({"hidden_size": 96, "swiglu": True, "moe_shared_expert_intermediate_size": 512}, 512),
    ],
)
def test_width(given: dict[str, Any], wanted: int) -> None:
    args = Namespace(n_shared_experts=2, **given)
    feature.adjust(args)
    assert args.moe_shared_expert_intermediate_size == wanted


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, ""),
        ({"moe_shared_expert_intermediate_size": 128}, ""),
        ({"moe_shared_expert_intermediate_size": 64}, "size is 64, and 2 experts are 128 wide together"),
        ({"n_shared_experts": -1}, "--n-shared-experts is -1, wanted 1 or more"),
        ({"num_experts": None}, "needs --num-experts"),
    ],
)
def test_rules(given: dict[str, Any], problem: str) -> None:
    args = Namespace(**{"n_shared_experts": 2, "num_experts": 4, "moe_ffn_hidden_size": 64} | given)
    found = rules.problems([feature.FEATURE], args, Level.COMPATIBILITY)
    assert len(found) == bool(problem)
    if problem:
        assert re.search(problem, found[0]), found
