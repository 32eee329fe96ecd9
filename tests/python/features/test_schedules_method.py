# SPDX-License-Identifier: Apache-2.0
"""--schedules-method dualpipev: the orders of passes, what they train, and what is refused."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import memory_cases
import pytest
import torchrun
from mindspeed.adaptor import arguments, rules
from mindspeed.adaptor.discovery import all_features
from mindspeed.features.pipeline import _vee
from mindspeed.features.pipeline._vee import BACKWARD, FORWARD, Pass

JOB = Path(__file__).parents[2] / "support" / "vee_job.py"
VEE = {"schedules_method": "dualpipev", "pipeline_model_parallel_size": 2}
SIZES = {"BATCH": 8}


@pytest.mark.parametrize("ranks", [2, 3, 4, 8])
@pytest.mark.parametrize("batches", [1, 5, 16, 32])
def test_orders(ranks: int, batches: int) -> None:
    """Each pass once, none before what it needs, and each message in the order in which it is needed."""
    plan = _vee.plan(ranks, batches)
    wanted = {
        Pass(kind, chunk, batch)
        for kind in (FORWARD, BACKWARD)
        for chunk in (0, 1)
        for batch in range(batches)
    }
    done: set[tuple[str, int, int]] = set()
    places = [0] * ranks
    for _ in range(2 * len(wanted) * ranks):
        for rank, order in enumerate(plan.orders):
            if places[rank] == len(order):
                continue
            step = order[places[rank]]
            stage = plan.place.stage(rank, step.chunk)
            needs = (
                [(FORWARD, stage - 1)] if step.kind == FORWARD else [(FORWARD, stage), (BACKWARD, stage + 1)]
            )
            if all((*need, step.batch) in done for need in needs if 0 <= need[1] <= plan.place.last):
                done.add((step.kind, stage, step.batch))
                places[rank] += 1
    assert places == [len(order) for order in plan.orders] == [len(wanted)] * ranks
    assert all(set(order) == wanted for order in plan.orders)


@pytest.mark.parametrize(("ranks", "batches"), [(2, 8), (4, 8), (4, 16), (8, 16), (8, 32)])
def test_waiting_is_less_than_half_of_a_plain_pipeline(ranks: int, batches: int) -> None:
    """A plain pipeline of P ranks waits for P - 1 passes of a whole rank, both ways: 2 x (1 + 2) of these."""
    plan = _vee.plan(ranks, batches)
    waits = plan.length - batches * 2 * 3
    assert waits <= 0.77 * (ranks - 1) * 2 * 3 and (ranks > 4 or waits <= 0.56 * (ranks - 1) * 2 * 3)
    assert plan.kept <= 2 * ranks + 3


@pytest.mark.parametrize(("ranks", "batches"), [(0, 4), (4, 0), (1025, 1), (1, 2**20 + 1)])
def test_no_plan(ranks: int, batches: int) -> None:
    with pytest.raises(ValueError, match=f"no plan for {ranks} ranks and {batches} micro-batches"):
        _vee.plan(ranks, batches)


def test_forward_only() -> None:
    plan = _vee.plan(4, 6, forward_only=True)
    assert plan.length == 6 * 2 + 8 - 2 and all(len(order) == 12 for order in plan.orders)


def found(ranks: int, batches: int, milliseconds: float) -> dict[str, Any]:
    (row,) = torchrun.rows(ranks, JOB, [str(batches), str(milliseconds)], timeout=200)
    return row


def test_messages_reach_the_stage_they_are_for() -> None:
    row = found(2, 5, 0)
    assert row["out"] == row["back"] == [4.0] * 5


def training(ranks: int, layers: int) -> dict[str, Any]:
    """Of one rank, and of a V of so many."""
    kind: dict[str, Any] = {"model": "moe", "dtype": "fp32", "layers": layers}
    shape: dict[str, Any] = {"pp": ranks, "vp": 2, "world": ranks, "overlap_p2p": True}
    vee = VEE | {"pipeline_model_parallel_size": ranks}
    one = memory_cases.run({"off": memory_cases.case({}, SIZES, **kind)})
    return one | memory_cases.run({"on": memory_cases.case(vee, SIZES, **kind, **shape)})


@pytest.mark.slow
def test_training_is_that_of_one_rank() -> None:
    results = training(2, layers=4)
    assert results["on"]["losses"] == pytest.approx(results["off"]["losses"], rel=2e-6)
    assert results["on"]["norms"] == pytest.approx(results["off"]["norms"], rel=2e-5)


@pytest.mark.slow
def test_training_of_four_ranks() -> None:
    """Eight stages."""
    results = training(4, layers=8)
    assert results["on"]["losses"] == pytest.approx(results["off"]["losses"], rel=4e-6)


def problems(**given: Any) -> list[str]:
    args = Namespace(**VEE | {"num_layers": 8, "untie_embeddings_and_output_weights": True} | given)
    features = tuple(
        f for f in all_features() if f.name in ("schedules-method", "noop-layers", "recompute-in-bubble")
    )
    arguments.complete(args, features)
    return list(rules.problems(features, args, 2))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"pipeline_model_parallel_size": 1}, "--pipeline-model-parallel-size 2 or more"),
        ({"num_layers": 6}, "--num-layers 6 is no multiple of the 4 stages"),
        ({"untie_embeddings_and_output_weights": False}, "give --untie-embeddings-and-output-weights"),
        ({"overlap_grad_reduce": True}, "leave out --overlap-grad-reduce"),
        ({"num_layers_per_virtual_pipeline_stage": 1}, "leave out --num-layers-per-virtual-pipeline-stage"),
        ({"num_virtual_stages_per_pipeline_rank": 4}, "leave out --num-virtual-stages-per-pipeline-rank 4"),
        ({"mtp_num_layers": 1}, "leave out --mtp-num-layers"),
        ({"noop_layers": [1]}, "exclude each other"),
        ({"recompute_in_bubble": True}, "exclude each other"),
    ],
)
def test_rules(given: dict[str, Any], wanted: str) -> None:
    assert problems() == []
    assert any(wanted in problem for problem in problems(**given))


def test_later_releases_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "installed_version", lambda name: "0.16.1")
    assert any(
        "is for Megatron Core before 0.13, and 0.16.1 is installed" in problem for problem in problems()
    )
