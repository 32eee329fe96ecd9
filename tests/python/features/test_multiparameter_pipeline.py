# SPDX-License-Identifier: Apache-2.0
"""--use-multiparameter-pipeline-model-parallel: stages that give each other tuples train as one rank does, and what is refused."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import memory_cases
import pytest
import torch
import torchrun
from mindspeed.adaptor import arguments, rules
from mindspeed.adaptor.discovery import all_features
from mindspeed.features.pipeline._lines import DIMENSIONS, MOST, header_of, rows_of
from mindspeed.features.pipeline._several import Message

JOB = Path(__file__).parents[2] / "support" / "several_job.py"
ON: dict[str, Any] = {"use_multiparameter_pipeline_model_parallel": True, "pipeline_model_parallel_size": 2}


def losses(ranks: int, *chunks: int) -> list[list[float]]:
    return [row["losses"] for row in torchrun.rows(ranks, JOB, [str(c) for c in chunks], timeout=300)]


def test_two_tensors_train_as_on_one_rank() -> None:
    """Micro-batches of several lengths, in a plain and in an interleaved pipeline; numbers travel with them."""
    (one,) = losses(1, 1)
    for found in losses(2, 1, 2):
        assert found == pytest.approx(one, rel=1e-6)


@pytest.mark.slow
def test_four_stages() -> None:
    (one,) = losses(1, 1)
    assert losses(4, 1)[0] == pytest.approx(one, rel=1e-6)


def test_a_model_of_one_tensor_is_as_it_was() -> None:
    layout: dict[str, Any] = {"pp": 2, "world": 2, "dtype": "fp32"}
    cases = {name: memory_cases.case(flags, **layout) for name, flags in (("off", {}), ("on", ON))}
    found = memory_cases.run(cases)
    for what in ("losses", "norms", "weights"):
        assert found["on"][what] == found["off"][what]


def test_headers() -> None:
    tensors = [torch.zeros(3, 1), torch.zeros((), dtype=torch.int64), torch.zeros(0, 4, dtype=torch.bfloat16)]
    tensors[0].requires_grad_()
    rows = rows_of(header_of(Message([*tensors, None])))
    assert rows == [
        (torch.float32, True, [3, 1]),
        (torch.int64, False, []),
        (torch.bfloat16, False, [0, 4]),
        None,
    ]


@pytest.mark.parametrize(
    ("tensors", "wanted"),
    [
        ([torch.zeros(1)] * (MOST + 1), f"returned {MOST + 1} tensors, wanted at most {MOST}"),
        ([torch.zeros(1), torch.zeros(1, dtype=torch.complex64)], "tensor 1 of a stage is torch.complex64"),
        ([torch.zeros([1] * (DIMENSIONS + 1))], f"with {DIMENSIONS + 1} dimensions"),
    ],
)
def test_what_cannot_travel(tensors: list[torch.Tensor], wanted: str) -> None:
    with pytest.raises(ValueError, match=wanted):
        header_of(Message(tensors))


def test_only_tensors_travel() -> None:
    with pytest.raises(TypeError, match="returned int at place 1 of its tuple"):
        Message.returned((torch.zeros(1), 3))


def problems(**given: Any) -> list[str]:
    args = Namespace(**ON | given)
    names = ("multiparameter-pipeline", "schedules-method", "variable-seq-lengths")
    features = tuple(f for f in all_features() if f.name in names)
    arguments.complete(args, features)
    return list(rules.problems(features, args, 2))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"pipeline_model_parallel_size": 1}, "--pipeline-model-parallel-size 2 or more"),
        ({"encoder_pipeline_model_parallel_size": 1}, "leave out --encoder-pipeline-model-parallel-size"),
        ({"use_ring_exchange_p2p": True}, "leave out --use-ring-exchange-p2p"),
        ({"schedules_method": "dualpipev", "num_layers": 4}, "both say how stages talk to each other"),
        ({"variable_seq_lengths": True}, "each message says its shapes already"),
    ],
)
def test_rules(given: dict[str, Any], wanted: str) -> None:
    assert problems() == []
    assert any(wanted in problem for problem in problems(**given))
