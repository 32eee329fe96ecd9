# SPDX-License-Identifier: Apache-2.0
"""--use-ascend-mc2: layers and losses as without, on two and four ranks, and the fused operators are what computes them."""

from __future__ import annotations

import functools
import json
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torchrun
from mindspeed.adaptor import arguments, rules
from mindspeed.features.communication import _linears
from mindspeed.features.communication import ascend_mc2 as feature

JOB = Path(__file__).parents[2] / "support" / "linears_job.py"
GATHERS, SCATTERS = "npu_all_gather_base_mm", "npu_mm_reduce_scatter_base"
# Sums in another order; losses after five steps of Adam.
TOLERANCE = {"fp32": 2e-6, "bf16": 1e-2, "losses": 1e-5}


@functools.cache
def rows(ranks: int) -> dict[str, dict[str, Any]]:
    found = torchrun.rows(ranks, JOB, [json.dumps({"use_ascend_mc2": True})], timeout=600)
    return {row["case"]: row for row in found}


def check(ranks: int) -> None:
    found = rows(ranks)
    assert len(found) == 24
    for case, row in found.items():
        allowed = next(limit for word, limit in TOLERANCE.items() if word in case)
        assert row["difference"] <= allowed, row
        if case.startswith("layer"):
            # One forward, the other backward.
            assert (row[GATHERS], row[SCATTERS]) == (1, 1), row
        else:
            # Steps, layers, two products of each kind in each direction, and the output layer's.
            assert row[GATHERS] >= 5 * 2 * 4 and row[SCATTERS] >= 5 * 2 * 4, row


def test_two_ranks() -> None:
    check(2)


@pytest.mark.slow
def test_four_ranks() -> None:
    check(4)


@pytest.mark.parametrize("by_position", [0, 2])
def test_arguments_by_name_and_by_position(by_position: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Megatron's column-parallel layer gives the first two by position from 0.14 on."""
    monkeypatch.setattr(_linears, "_rows", lambda x, weight, bias, plan: (x, weight, bias))
    x, weight = torch.ones(2, 1, 4), torch.ones(3, 4)
    names = {"input": x, "weight": weight}
    first = [names.pop(name) for name in list(names)[:by_position]]
    group = SimpleNamespace(size=lambda: 2)
    more = {"bias": None, "gradient_accumulation_fusion": False, "sequence_parallel": True, "tp_group": group}
    found = _linears.gathering(feature.fuses)(pytest.fail)(*first, **names, **more)
    assert found[0] is x and found[1] is weight


def problems(**given: Any) -> list[str]:
    args = Namespace(
        **({"sequence_parallel": True, "tensor_model_parallel_size": 2, "use_ascend_mc2": True} | given)
    )
    arguments.complete(args, (feature.FEATURE,))
    return list(rules.problems((feature.FEATURE,), args, 2))


def test_rules() -> None:
    assert problems() == []
    assert "--sequence-parallel" in problems(sequence_parallel=False)[0]
    assert "--tensor-model-parallel-size is 1;" in problems(tensor_model_parallel_size=1)[0]
    assert "--tensor-model-parallel-size is 3;" in problems(tensor_model_parallel_size=3)[0]
