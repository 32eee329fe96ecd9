# SPDX-License-Identifier: Apache-2.0
"""--moe-zero-memory: the same training, with less kept of layers of experts; the last product is not computed twice."""

from __future__ import annotations

import functools
from argparse import Namespace
from typing import Any

import expert_cases
import memory_cases
import pytest
from mindspeed.adaptor import arguments, rules
from mindspeed.adaptor.discovery import all_features

EXPERTS, LAYER = {"moe_zero_memory": "level0"}, {"moe_zero_memory": "level1"}
OVERLAP = {"moe_alltoall_overlap_comm": True}


@functools.cache
def found() -> dict[str, dict[str, Any]]:
    flags = {
        "": {}, "level0": EXPERTS, "level1": LAYER, "one layer": LAYER | {"moe_zero_memory_num_layers": 1},
        "no layer": LAYER | {"moe_zero_memory_num_layers": 0}, "level0 overlap": EXPERTS | OVERLAP, "level1 overlap": LAYER | OVERLAP,
        "level0 added": EXPERTS | OVERLAP | {"gemm_gradient_accumulation_fusion": True},
        "added": {"gemm_gradient_accumulation_fusion": True},
    }  # fmt: skip
    cases = {name: expert_cases.case(given) for name, given in flags.items()}
    cases |= {f"main_grad {name}": expert_cases.case(flags[name], adds=True) for name in ("", "level0")}
    return memory_cases.run(cases)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["level0", "level1", "one layer", "no layer", "level0 overlap", "level1 overlap"]
)
def test_training_is_the_same(name: str) -> None:
    assert expert_cases.training(found()[name]) == expert_cases.training(found()[""])


@pytest.mark.slow
def test_training_that_adds_gradients_is_the_same() -> None:
    assert expert_cases.training(found()["level0 added"]) == expert_cases.training(found()["added"])


@pytest.mark.slow
def test_shared_experts_add_to_main_grad() -> None:
    """Their weights come back from autograd, and must be the parameters that have it."""
    with_it, without = found()["main_grad level0"], found()["main_grad "]
    assert expert_cases.training(with_it) == expert_cases.training(without)


@pytest.mark.slow
def test_less_is_kept() -> None:
    peak = {name: result["peak"] for name, result in found().items()}
    # Of each layer (bf16, 64 wide): 512 tokens to two experts each, which are 32 wide and gated, and one shared expert.
    middle = 512 * 3 * (2 * 32 + 32 + 32) * 2
    layers = 4
    assert peak[""] - peak["level0"] > 0.5 * layers * middle
    assert peak["level1"] < peak["level0"]
    assert peak["level1"] < peak["one layer"] < peak["no layer"] == pytest.approx(peak[""], rel=0.01)


def problems(**given: Any) -> list[str]:
    usual = {"num_experts": 8, "moe_grouped_gemm": True, "num_layers": 4, "pipeline_model_parallel_size": 2}
    args = Namespace(**(usual | LAYER | given))
    features = tuple(
        f for f in all_features() if f.name in ("moe-zero-memory", "recompute-activation-function")
    )
    arguments.complete(args, features)
    return list(rules.problems(features, args, 2))


def test_rules() -> None:
    assert problems() == problems(moe_zero_memory="disable") == problems(moe_zero_memory_num_layers=2) == []
    assert "needs --num-experts" in problems(num_experts=None)[0]
    assert "needs --moe-grouped-gemm" in problems(moe_grouped_gemm=False)[0]
    assert "is 3, wanted 0 to the layers of a stage (2)" in problems(moe_zero_memory_num_layers=3)[0]
    assert "is for level1" in problems(moe_zero_memory_num_layers=1, **EXPERTS)[0]
    assert "other experts" in problems(transformer_impl="transformer_engine", **EXPERTS)[0]
    assert problems(transformer_impl="transformer_engine") == []
    assert "in pieces" in problems(moe_shared_expert_overlap=True, **EXPERTS)[0]
    assert "--recompute-method block" in problems(recompute_granularity="full", recompute_method="uniform")[0]
    assert "exclude each other" in problems(recompute_activation_function=True)[0]
