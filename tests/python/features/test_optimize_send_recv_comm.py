# SPDX-License-Identifier: Apache-2.0
"""--optimize-send-recv-comm: pipelines train the same, bit for bit, without a batch of messages, and what is refused."""

from __future__ import annotations

from argparse import Namespace
from types import SimpleNamespace
from typing import Any

import memory_cases
import pytest
from mindspeed.adaptor import arguments, rules
from mindspeed.adaptor.discovery import all_features
from mindspeed.features.pipeline import optimize_send_recv_comm as feature

FLAGS = {"optimize_send_recv_comm": True}
SIZES = {"BATCH": 8}


@pytest.mark.parametrize("ranks", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_training_is_the_same(ranks: int) -> None:
    layout = {"pp": ranks, "world": ranks}
    on = FLAGS | {"pipeline_model_parallel_size": ranks}
    cases = {name: memory_cases.case(flags, SIZES, **layout) for name, flags in (("off", {}), ("on", on))}
    found = memory_cases.run(cases)
    for what in ("losses", "norms", "weights"):
        assert found["on"][what] == found["off"][what]


def test_activations_and_gradients_have_groups_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    distributed = SimpleNamespace(
        isend=lambda *message: sent.append(("to", *message)),
        irecv=lambda *message: sent.append(("from", *message)),
    )
    monkeypatch.setattr(feature, "torch", SimpleNamespace(distributed=distributed))
    monkeypatch.setattr(feature, "directions", lambda group: {feature.DOWN: "down", feature.UP: "up"})
    tensors: dict[str, Any] = {
        "tensor_send_prev": "gradient", "tensor_recv_prev": "input", "tensor_send_next": "output",
        "tensor_recv_next": None,
    }  # fmt: skip
    made = feature._messages(**tensors, group=None, prev_pipeline_rank=3, next_pipeline_rank=5)
    assert list(made) == ["recv_prev", "send_next", "send_prev"]
    assert sent == [("from", "input", 3, "down"), ("to", "output", 5, "down"), ("to", "gradient", 3, "up")]


def problems(**given: Any) -> list[str]:
    args = Namespace(**FLAGS | {"pipeline_model_parallel_size": 2} | given)
    names = ("optimize-send-recv-comm", "recompute-in-bubble")
    features = tuple(f for f in all_features() if f.name in names)
    arguments.complete(args, features)
    return list(rules.problems(features, args, 2))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"pipeline_model_parallel_size": 1}, "--pipeline-model-parallel-size 2 or more"),
        ({"num_layers_per_virtual_pipeline_stage": 1}, "leave out --num-layers-per-virtual-pipeline-stage"),
        ({"recompute_in_bubble": True}, "exclude each other"),
    ],
)
def test_rules(given: dict[str, Any], wanted: str) -> None:
    assert problems() == []
    assert any(wanted in problem for problem in problems(**given))
