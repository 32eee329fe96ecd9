# SPDX-License-Identifier: Apache-2.0
"""--use-pipe-experts: the same training, and messages of a part beside products of another."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import expert_cases
import memory_cases
import pytest
import torchrun
from mindspeed.adaptor import arguments, rules
from mindspeed.adaptor.discovery import all_features
from mindspeed.features.moe import model_type, pipe_experts

SUPPORT = Path(__file__).parents[2] / "support"
KIND = {"moe_model_type": "deepspeed_moe", "moe_grouped_gemm": False}
ON = KIND | {"use_pipe_experts": True}


@pytest.mark.slow
def test_training_is_the_same() -> None:
    ways = {"off": KIND, "on": ON, "parts": ON | {"pipe_experts_multi_data": 3}}
    layout = {
        "grouped": False,
        "dtype": "fp32",
    }  # a choice of experts on the edge would fall otherwise in bfloat16
    cases = {name: expert_cases.case(flags, "allgather", **layout) for name, flags in ways.items()}
    found = {name: expert_cases.training(result) for name, result in memory_cases.run(cases).items()}
    assert found["on"] == found["off"]  # an expert's tokens are together: the same bits
    for one, two in zip(found["off"][:2], found["parts"][:2], strict=True):
        assert two == pytest.approx(one, rel=2e-4)  # a weight's gradient is a sum of parts


@pytest.mark.slow
def test_slices_of_experts_on_four_ranks() -> None:
    layout = {"world": 4, "tp": 2, "sp": True, "grouped": False, "dtype": "fp32"}
    both = {"pipe_experts_multi_data": 2, "pipe_experts_multi_stream": True, "sequence_parallel": True}
    ways = {"off": KIND, "on": ON | both, "one lane": ON | both | {"pipe_experts_multi_stream": False}}
    cases = {name: expert_cases.case(flags, "allgather", **layout) for name, flags in ways.items()}
    found = {name: expert_cases.training(result) for name, result in memory_cases.run(cases).items()}
    assert found["on"] == found["one lane"]
    # Sums of a weight's gradient are in another order, and after some steps a token falls to another expert.
    assert found["on"][0] == pytest.approx(found["off"][0], rel=1e-3)
    assert found["on"][0][:5] == pytest.approx(found["off"][0][:5], rel=2e-5)
    assert found["on"][1] == pytest.approx(found["off"][1], rel=5e-3)


def test_products_are_computed_while_tokens_travel() -> None:
    """What a rank has done while the other one's last message is missing."""
    (found,) = torchrun.rows(2, SUPPORT / "pipe_experts_job.py", timeout=300)
    assert found["off"] == {"forward": 0, "backward": 0}, found
    # Of four parts three are through an expert. Backward those of the second expert have its weight's gradient; of the first one
    # a part is missing.
    assert found["on"] == {"forward": 3, "backward": 1}, found


def problems(**given: Any) -> list[str]:
    args = Namespace(**({"num_experts": 8, "moe_router_topk": 2} | ON | given))
    arguments.complete(args, all_features())
    return list(rules.problems((model_type.FEATURE, pipe_experts.FEATURE), args, 2))


def test_rules() -> None:
    assert problems() == []
    assert "needs --moe-model-type deepspeed_moe" in problems(moe_model_type="megatron_moe")[0]
    assert "--pipe-experts-multi-data is 0," in problems(pipe_experts_multi_data=0)[0]
    assert "--pipe-experts-multi-stream takes messages" in problems(pipe_experts_multi_stream=True)[0]
    assert problems(pipe_experts_multi_stream=True, sequence_parallel=True) == []
