# SPDX-License-Identifier: Apache-2.0
"""--moe-allgather-overlap-comm: the same training, and what is computed while the other rank's tokens and gradients are missing."""

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
from mindspeed.features.moe import allgather_overlap_comm as feature

SUPPORT = Path(__file__).parents[2] / "support"
KIND = "allgather"
ON = {"moe_allgather_overlap_comm": True}
ADDING = {"gemm_gradient_accumulation_fusion": True}


def test_computes_while_tokens_and_gradients_travel() -> None:
    (found,) = torchrun.rows(2, SUPPORT / "experts_overlap_job.py", [KIND], timeout=300)
    on, off, late = found["on"], found["off"], found["delay"]
    # Shared experts are through before the other rank has sent its tokens.
    assert on["shared"] < late / 2 < off["shared"], found
    # Gradients of tokens leave before those of weights are computed, which is before the other rank's come.
    assert on["order"] == ["sent", "weight", "weight"] and on["weights"] < late / 2, found
    assert off["order"] == ["weight", "weight", "sent"], found


@pytest.mark.slow
def test_training_is_the_same() -> None:
    ways = {"": {}, "adding ": ADDING}
    cases = {
        f"{name}{word}": expert_cases.case(flags | more, KIND)
        for name, more in ways.items()
        for word, flags in (("off", {}), ("on", ON))
    }
    cases["on overlapped"] = expert_cases.case(ON, KIND, optimizer="overlap")
    cases["off overlapped"] = expert_cases.case({}, KIND, optimizer="overlap")
    found = {name: expert_cases.training(result) for name, result in memory_cases.run(cases).items()}
    for name in ways:
        assert found[f"{name}on"] == found[f"{name}off"]
    assert found["on overlapped"] == found["off overlapped"]


@pytest.mark.slow
def test_four_ranks() -> None:
    layout = {"world": 4, "tp": 2, "sp": True}
    cases = {word: expert_cases.case(flags, KIND, **layout) for word, flags in (("off", {}), ("on", ON))}
    found = memory_cases.run(cases)
    assert expert_cases.training(found["on"]) == expert_cases.training(found["off"])


def problems(**given: Any) -> list[str]:
    usual = {"num_experts": 8, "moe_grouped_gemm": True, "expert_model_parallel_size": 2}
    args = Namespace(**(usual | {"moe_token_dispatcher_type": KIND} | ON | given))
    arguments.complete(args, all_features())
    return list(rules.problems((feature.FEATURE,), args, 2))


def test_rules() -> None:
    assert problems() == []
    assert "needs --num-experts" in problems(num_experts=None)[0]
    assert "needs --moe-grouped-gemm" in problems(moe_grouped_gemm=False)[0]
    assert "--transformer-impl transformer_engine" in problems(transformer_impl="transformer_engine")[0]
    assert "--moe-token-dispatcher-type is alltoall;" in problems(moe_token_dispatcher_type="alltoall")[0]
