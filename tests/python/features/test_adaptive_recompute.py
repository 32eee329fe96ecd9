# SPDX-License-Identifier: Apache-2.0
"""--adaptive-recompute-device-size: the same training, with as much recomputation as a limit of memory asks for."""

from __future__ import annotations

import itertools
import json
import random
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torchrun
from mindspeed.adaptor import Level, arguments, rules
from mindspeed.adaptor.discovery import all_features
from mindspeed.features.memory import _recompute_plan as plan
from mindspeed.features.memory import adaptive_recompute as feature

JOB = Path(__file__).parents[2] / "support" / "recompute_job.py"
SIZES = {"SEQUENCE": 256, "BATCH": 2}
CASES: dict[str, dict[str, Any]] = {
    "dense": {"layout": {"model": "dense", "layers": 8}, "sizes": SIZES, "fractions": [0.5]},
    "experts": {
        "layout": {"model": "moe", "layers": 8}, "sizes": SIZES, "fractions": [0.6],
    },
    "lengths": {
        "layout": {"model": "dense", "layers": 8}, "sizes": {"SEQUENCE": 256, "BATCH": 3, "SHORTER": 100},
        "fractions": [0.4],
    },
    "pipeline": {
        "layout": {"model": "dense", "layers": 12, "world": 2, "pp": 2}, "sizes": SIZES | {"BATCH": 4},
        "fractions": [0.3],
    },
    "shared": {
        "layout": {"model": "moe", "layers": 8, "world": 2, "ep": 2, "dispatcher": "alltoall"},
        "sizes": SIZES | {"BATCH": 4}, "fractions": [0.3],
    },
}  # fmt: skip

Step = tuple[list[int], list[tuple[int, int, int, list[int]]], list[list[float]], int]


@pytest.mark.parametrize(
    "name", ["dense", *(pytest.param(name, marks=pytest.mark.slow) for name in CASES if name != "dense")]
)
def test_training_is_the_same_and_close_to_the_limit(name: str) -> None:
    case = {"flags": {"use_flash_attn": True}} | CASES[name]
    world = case["layout"].get("world", 1)
    free, least, *limited = torchrun.rows(world, JOB, [json.dumps(case)], timeout=600)
    assert set(least["options"]) == {str(plan.AGAIN)}  # with a limit that nothing fits into
    for found in (least, *limited):
        assert (found["losses"], found["norms"]) == (free["losses"], free["norms"])
    for found in limited:
        limit = found["limit"] * 2**20
        assert 0.97 * limit <= max(found["peaks"]) <= limit
        assert len(found["options"]) > 1


def step(dice: random.Random, units: int) -> Step:
    """Two micro-batches, one after the other or overlapping: base, spans, seconds saved, limit."""
    segments = 4 * units
    base = [dice.randrange(100, 140) for _ in range(segments)]
    spans = []
    for unit in range(units):
        bytes_ = [0, *(dice.randrange(5, 40) for _ in range(plan.OPTIONS - 1))]
        for begin in (unit, unit + dice.randrange(2 * units)):
            spans.append((unit, begin, min(segments, begin + dice.randrange(1, 2 * units)), bytes_))
    seconds = [
        [0.0, *(dice.choice([-1.0, dice.uniform(1, 9), dice.uniform(1, 9)]) for _ in range(plan.OPTIONS - 1))]
        for _ in range(units)
    ]
    return base, spans, seconds, dice.randrange(140, 260)


def load_of(made: Step, chosen: tuple[int, ...]) -> list[int]:
    base, spans, _, _ = made
    load = list(base)
    for unit, begin, end, bytes_ in spans:
        for segment in range(begin, end):
            load[segment] += bytes_[chosen[unit]]
    return load


def test_plans_next_to_the_best_of_all() -> None:
    dice, found, best = random.Random(5), 0.0, 0.0
    for _ in range(40):
        units = dice.randrange(1, 6)
        made = step(dice, units)
        base, spans, seconds, limit = made
        unit, begin, end, bytes_ = (list(column) for column in zip(*spans, strict=True))
        flat = [list(itertools.chain(*table)) for table in (bytes_, seconds)]
        chosen, peak = plan._solve(base, unit, begin, end, flat[0], flat[1], limit)
        load = load_of(made, tuple(chosen))
        assert max(load) == peak <= limit
        saved = sum(seconds[place][option] for place, option in enumerate(chosen))
        ways = itertools.product(range(plan.OPTIONS), repeat=units)
        most = max(
            sum(seconds[place][option] for place, option in enumerate(way))
            for way in ways
            if max(load_of(made, way)) <= limit
        )
        assert 0 <= saved <= most + 1e-9 and (most == 0 or saved >= 0.7 * most)
        found, best = found + saved, best + most
    assert found >= 0.97 * best > 0


def test_nothing_is_kept_where_the_least_is_too_much() -> None:
    chosen, peak = plan._solve([10, 30, 10], [0], [0], [2], [0, 1, 1, 1], [0.0, 1.0, 1.0, 1.0], 20)
    assert (chosen, peak) == ([plan.AGAIN], 30)


@pytest.mark.parametrize(
    ("unit", "begin", "end"), [([1], [0], [1]), ([-1], [0], [1]), ([0], [2], [1]), ([0], [0], [4])]
)
def test_numbers_that_contradict_each_other(unit: list[int], begin: list[int], end: list[int]) -> None:
    with pytest.raises(RuntimeError, match="no plan for 1 layers and 3 segments"):
        plan._solve([1, 1, 1], unit, begin, end, [0, 1, 1, 1], [0.0, 1.0, 1.0, 1.0], 9)


def problems(**given: Any) -> list[str]:
    args = Namespace(**{"adaptive_recompute_device_size": 100} | given)
    arguments.complete(args, all_features())
    return rules.problems([feature.FEATURE, *_others()], args, Level.ACCELERATION)


def _others() -> list[Any]:
    named = {conflict.feature for conflict in feature.FEATURE.conflicts}
    return [one for one in all_features() if one.name in named]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, ""),
        ({"adaptive_recompute_device_size": -1}, ""),
        ({"adaptive_recompute_device_size": 0}, "wanted the MiB that a step may take, 1 or more"),
        ({"adaptive_recompute_profiling_step": 3}, "--adaptive-recompute-profiling-step is 3, wanted 4 or more"),
        ({"train_iters": 5}, "--adaptive-recompute-profiling-step 10 is more than --train-iters 5"),
        ({"recompute_granularity": "full"}, "leave out --recompute-granularity full"),
        ({"use_torch_fsdp2": True}, "leave out --use-torch-fsdp2"),
        ({"recompute_norm": True}, "both choose what is recomputed"),
        ({"moe_zero_memory": "level1", "num_experts": 4, "moe_grouped_gemm": True}, "both choose what is recomputed"),
    ],
)  # fmt: skip
def test_rules(given: dict[str, Any], problem: str) -> None:
    found = problems(**given)
    assert len(found) == bool(problem) and problem in "".join(found)
