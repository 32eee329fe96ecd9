# SPDX-License-Identifier: Apache-2.0
"""--balanced-moe-experts: the same layer and training, and less for the busiest rank; the choice of experts against all others."""

from __future__ import annotations

import itertools
import random
from argparse import Namespace
from pathlib import Path
from typing import Any

import expert_cases
import memory_cases
import pytest
import torchrun
from mindspeed.adaptor import arguments, rules
from mindspeed.adaptor.discovery import all_features
from mindspeed.features.moe import _hot

SUPPORT = Path(__file__).parents[2] / "support"
ON = {"balanced_moe_experts": True, "balanced_moe_hot_expert_num": 2}


def load(counts: list[list[int]], hot: tuple[int, ...]) -> list[int]:
    ranks, experts = len(counts), len(counts[0])
    found = [0] * ranks
    for rank, expert in itertools.product(range(ranks), range(experts)):
        found[rank if expert in hot else expert // (experts // ranks)] += counts[rank][expert]
    return found


def skewed(dice: random.Random, ranks: int, experts: int) -> list[list[int]]:
    popular = [dice.expovariate(1) ** 3 for _ in range(experts)]
    return [[int(100 * share * dice.random()) for share in popular] for _ in range(ranks)]


@pytest.mark.parametrize("seed", range(20))
def test_the_choice(seed: int) -> None:
    dice = random.Random(seed)
    ranks = dice.choice((1, 2, 3, 4))
    experts, copies = ranks * dice.randint(1, 3), dice.randint(0, 4)
    counts = skewed(dice, ranks, experts)
    found = _hot.plan(counts, copies)
    assert found.load == load(counts, tuple(found.hot)) and len(set(found.hot)) == len(found.hot) <= copies
    # Each one is the best next one, and none is left out that would be of use.
    for size in range(len(found.hot) + (len(found.hot) < copies)):
        before = tuple(found.hot[:size])
        rest = [expert for expert in range(experts) if expert not in before]
        best = min((max(load(counts, (*before, expert))) for expert in rest), default=None)
        if size < len(found.hot):
            assert max(load(counts, tuple(found.hot[: size + 1]))) == best < max(load(counts, before))
        else:
            assert best is None or best >= max(load(counts, before))
    if copies == 1:
        every = [
            max(load(counts, hot)) for n in range(2) for hot in itertools.combinations(range(experts), n)
        ]
        assert max(found.load) == min(every)


def test_what_has_no_plan() -> None:
    assert _hot.plan([[5, 0]], 3) == _hot.Plan([], [5])
    assert _hot.plan([[0, 0], [0, 0]], 1) == _hot.Plan([], [0, 0])
    with pytest.raises(ValueError, match="no plan for 3 experts on 2 ranks"):
        _hot.plan([[1, 1, 1], [1, 1, 1]], 1)
    with pytest.raises(ValueError, match="counts of 0 and more"):
        _hot.plan([[1, -1], [1, 1]], 1)


def test_a_layer_with_busy_experts_on_four_ranks() -> None:
    found = torchrun.rows(4, SUPPORT / "balanced_job.py", timeout=400)
    assert sorted(row["rank"] for row in found) == [0, 1, 2, 3]
    for row in found:
        assert sum(row["after"]) == sum(row["before"]) == 4 * 256 * 2  # each token has two experts
        assert max(row["before"]) > 0.75 * sum(row["before"])  # on the rank with the first experts
        assert max(row["after"]) < 0.4 * sum(row["after"]), row
        assert max(row["away"].values()) < 2e-6, row  # sums in another order


@pytest.mark.slow
def test_training_is_the_same_on_four_ranks() -> None:
    layout: dict[str, Any] = {"world": 4, "ep": 4, "dtype": "fp32", "batch": 8}
    cases = {name: expert_cases.case(flags, **layout) for name, flags in (("off", {}), ("on", ON))}
    found = {name: expert_cases.training(result) for name, result in memory_cases.run(cases).items()}
    assert found["on"][0] == pytest.approx(found["off"][0], rel=5e-5)
    assert found["on"][1] == pytest.approx(found["off"][1], rel=3e-4)


def problems(**given: Any) -> list[str]:
    usual = {"num_experts": 8, "moe_grouped_gemm": True, "expert_model_parallel_size": 2}
    args = Namespace(**(usual | {"moe_token_dispatcher_type": "alltoall"} | ON | given))
    arguments.complete(args, all_features())
    return list(rules.problems(all_features(), args, 2))


def test_rules() -> None:
    assert problems() == []
    assert "needs --num-experts" in problems(num_experts=None)[0]
    assert "needs --moe-grouped-gemm" in problems(moe_grouped_gemm=False)[0]
    assert "--balanced-moe-hot-expert-num is 0," in problems(balanced_moe_hot_expert_num=0)[0]
    assert "is 5, and a rank has 4 experts" in problems(balanced_moe_hot_expert_num=5)[0]
    assert "--trans-hot-expert-group-num is 9," in problems(trans_hot_expert_group_num=9)[0]
    assert "--expert-model-parallel-size is 1," in problems(expert_model_parallel_size=1)[0]
    assert "--moe-token-dispatcher-type is allgather;" in problems(moe_token_dispatcher_type="allgather")[0]
    assert "which stages do not begin together" in problems(pipeline_model_parallel_size=2)[0]
    assert "give --expert-tensor-parallel-size 1" in problems(tensor_model_parallel_size=2)[0]
    assert "--moe-expert-capacity-factor" in problems(moe_expert_capacity_factor=1.0)[0]
    assert "leave moe out" in problems(recompute_modules=["moe"])[0]
    assert "--transformer-impl transformer_engine" in problems(transformer_impl="transformer_engine")[0]
    assert any("exclude each other" in text for text in problems(moe_zero_memory="level0"))
