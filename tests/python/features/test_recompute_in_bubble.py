# SPDX-License-Identifier: Apache-2.0
"""--recompute-in-bubble: the same training, with as many passes in memory as there are chunks in the pipeline."""

from __future__ import annotations

import re
from argparse import Namespace
from typing import Any

import interleaved
import memory_cases
import pytest
import torch
from mindspeed.adaptor import Level, rules
from mindspeed.features.pipeline import _passes
from mindspeed.features.pipeline import recompute_in_bubble as feature


def simulate(
    monkeypatch: pytest.MonkeyPatch, stages: int, chunks: int, batches: int, rank: int
) -> tuple[int, int, int]:
    """Most passes at a time with and without recomputation, and how many are computed again."""
    monkeypatch.setattr(_passes, "_is_last_stage", lambda: rank == stages - 1)
    monkeypatch.setattr(feature, "_stages", lambda: stages)
    schedule = _passes.Schedule(chunks, feature.choose)
    models = [torch.nn.Module() for _ in range(chunks)]
    alive = most = waiting = plain = again = 0
    names: dict[int, tuple[int, int]] = {}
    for kind, chunk, batch in interleaved.order(stages, chunks, batches, rank):
        if kind == "forward":
            with schedule.forward(models[chunk]):
                one = schedule.current
                assert one is not None
                names[id(one)] = chunk, batch
                again += one.is_again
                alive += not one.is_again
            waiting += 1
        else:
            one = schedule.next
            assert one is not None and names[id(one)] == (chunk, batch)
            alive += one.is_again  # computed again
            most, plain = max(most, alive), max(plain, waiting)
            schedule.backward_done()
            alive, waiting = alive - 1, waiting - 1
        most, plain = max(most, alive), max(plain, waiting)
    assert schedule.kept() == 0 and schedule.next is None
    return most, plain, again


@pytest.mark.parametrize(
    ("stages", "chunks", "batches"), [(2, 2, 8), (4, 2, 8), (4, 3, 16), (8, 2, 32), (2, 2, 2)]
)
def test_passes_in_memory(monkeypatch: pytest.MonkeyPatch, stages: int, chunks: int, batches: int) -> None:
    for rank in range(stages):
        most, plain, again = simulate(monkeypatch, stages, chunks, batches, rank)
        assert most <= stages * chunks
        assert (again > 0) == (plain > stages * chunks), "computed again where there is no need"
    _, plain, _ = simulate(monkeypatch, stages, chunks, batches, 0)
    assert batches == stages or plain == stages * chunks + stages - 1


def test_who_waits_for_a_gradient_computes_first() -> None:
    seen: list[str] = []

    class Handle:
        def wait(self) -> None:
            seen.append("wait")

    class Schedule:
        def recompute(self) -> None:
            seen.append("recompute")

    sent = _passes.receiving(lambda: (None, {"recv_next": Handle(), "send_prev": Handle()}))
    _passes.Schedule.now = Schedule()  # type: ignore[assignment]
    try:
        handles = sent()[1]
    finally:
        _passes.Schedule.now = None
    handles["send_prev"].wait()
    handles["recv_next"].wait()
    assert seen == ["wait", "recompute", "wait"]


@pytest.mark.slow
def test_training_is_the_same_with_less_memory() -> None:
    assert memory_cases.training("w2-pp-bubble") == memory_cases.training("w2-pp")
    # The first stage holds 4 passes of a layer instead of 5.
    wanted, found = memory_cases.result("w2-pp"), memory_cases.result("w2-pp-bubble")
    assert found["peak"] < wanted["peak"]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, ""),
        (
            {"num_layers_per_virtual_pipeline_stage": None},
            "is for interleaved pipelines: give --num-layers-per-virtual",
        ),
        (
            {"pipeline_model_parallel_size": 1},
            "is for pipelines: give --pipeline-model-parallel-size 2 or more",
        ),
        (
            {"overlap_p2p_comm": False},
            "computes while gradients come; leave out --no-overlap-p2p-communication",
        ),
        ({"recompute_granularity": "selective"}, "leave out --recompute-granularity selective, or give"),
    ],
)
def test_rules(given: dict[str, Any], problem: str) -> None:
    pipeline = {
        "pipeline_model_parallel_size": 2, "num_layers_per_virtual_pipeline_stage": 1, "overlap_p2p_comm": True,
        "recompute_granularity": None,
    }  # fmt: skip
    args = Namespace(recompute_in_bubble=True, **(pipeline | given))
    found = rules.problems([feature.FEATURE], args, Level.ACCELERATION)
    assert len(found) == bool(problem)
    if problem:
        assert re.search(problem, found[0]), found
