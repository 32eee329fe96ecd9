# SPDX-License-Identifier: Apache-2.0
"""--moe-tp-extend-ep: ranks hold whole experts, and train to the losses of experts that are cut."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import expert_cases
import memory_cases
import pytest
from mindspeed.adaptor import arguments, rules
from mindspeed.features.moe import tp_extend_ep as feature


def given(**more: Any) -> Namespace:
    usual = {
        "moe_tp_extend_ep": True, "num_experts": 8, "moe_grouped_gemm": True, "tensor_model_parallel_size": 2,
        "expert_model_parallel_size": 2, "expert_tensor_parallel_size": None, "moe_token_dispatcher_type": "alltoall_seq",
    }  # fmt: skip
    args = Namespace(**(usual | more))
    arguments.complete(args, (feature.FEATURE,))
    return args


def test_what_megatron_is_told() -> None:
    args = given()
    for _ in range(2):  # Megatron validates arguments of a checkpoint again
        feature.adjust(args)
        assert (args.expert_model_parallel_size, args.expert_tensor_parallel_size) == (4, 1)
        assert args.moe_token_dispatcher_type == "alltoall"
        assert problems(args) == []


@pytest.mark.slow
def test_training_of_whole_experts() -> None:
    """In float32: in bfloat16 slices are rounded before they are added, and tokens find other experts."""
    cut = {"world": 4, "tp": 2, "sp": True, "ep": 2, "dtype": "fp32"}
    args = given()
    feature.adjust(args)
    whole = cut | {"ep": args.expert_model_parallel_size, "etp": args.expert_tensor_parallel_size}
    found = memory_cases.run({"cut": expert_cases.case({}, **cut), "whole": expert_cases.case({}, **whole)})
    assert found["whole"]["losses"] == pytest.approx(found["cut"]["losses"], rel=1e-6)


def problems(args: Namespace) -> list[str]:
    return list(rules.problems((feature.FEATURE,), args, 2))


def test_rules() -> None:
    assert problems(given()) == problems(given(expert_tensor_parallel_size=1, num_experts=2)) == []
    assert "needs --num-experts" in problems(given(num_experts=None))[0]
    assert "needs --moe-grouped-gemm" in problems(given(moe_grouped_gemm=False))[0]
    assert "6 experts cannot be shared" in problems(given(num_experts=6))[0]
    assert "--expert-tensor-parallel-size 4 cuts experts" in problems(given(expert_tensor_parallel_size=4))[0]
    assert "gathers tokens" in problems(given(moe_token_dispatcher_type="allgather"))[0]
