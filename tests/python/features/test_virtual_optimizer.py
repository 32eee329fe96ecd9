# SPDX-License-Identifier: Apache-2.0
"""--virtual-optimizer: the same bits, with averages out of the device's memory; checkpoints go both ways."""

from __future__ import annotations

import copy
import math
from argparse import Namespace
from typing import Any

import device_memory
import megatron_gpt
import pytest
import torch
from mindspeed.adaptor import arguments, rules
from mindspeed.adaptor.discovery import all_features
from mindspeed.features.memory import virtual_optimizer as feature

SIZE = megatron_gpt.Size(dtype=torch.bfloat16)
STEPS = 3


@pytest.fixture
def virtual(switch: Any) -> Any:
    def on(*given: float) -> None:
        switch(optimization_level=2, virtual_optimizer=list(given) or None)

    yield on
    switch(virtual_optimizer=None)


def trained(steps: int = STEPS, **state: Any) -> tuple[list[float], Any]:
    model, optimizer = megatron_gpt.trainer(megatron_gpt.build(SIZE), SIZE)
    texts = megatron_gpt.batches(SIZE, steps)
    return [megatron_gpt.train_step(model, optimizer, text).item() for text in texts], (model, optimizer)


def inner(optimizer: Any) -> Any:
    return getattr(optimizer, "chained_optimizers", [optimizer])[0].optimizer


def is_away(optimizer: Any, tensor: torch.Tensor) -> bool:
    adam = inner(optimizer)
    return isinstance(adam, feature.VirtualAdam) and adam.is_away(tensor)


def away(optimizer: Any) -> list[bool]:
    states = inner(optimizer).state.values()
    return [is_away(optimizer, state[name]) for state in states for name in ("exp_avg", "exp_avg_sq")]


def averages(optimizer: Any) -> list[torch.Tensor]:
    states = inner(optimizer).state.values()
    return [state[name].cpu() for state in states for name in ("exp_avg", "exp_avg_sq")]


def bytes_of(optimizer: Any) -> int:
    return sum(average.nbytes for average in averages(optimizer))


def kept() -> tuple[list[float], list[torch.Tensor], list[bool], int]:
    """Losses, averages, which of these are away, and what a training has of the device's memory."""
    before = device_memory.in_use()
    losses, (_, optimizer) = trained()
    return losses, averages(optimizer), away(optimizer), device_memory.in_use() - before


def test_training_has_the_same_bits_and_the_device_less(virtual: Any) -> None:
    virtual()
    losses, wanted, where, used = kept()
    assert not any(where)
    virtual(math.inf)
    found, same, where, less = kept()
    assert found == losses and all(map(torch.equal, same, wanted)) and all(where)
    assert used - less > 0.9 * sum(average.nbytes for average in wanted)


def test_no_more_than_the_stage_may_is_away(virtual: Any) -> None:
    virtual(math.inf)
    _, (_, whole) = trained(1)
    half = bytes_of(whole) / 2
    virtual(half / 2**30)
    _, (_, optimizer) = trained(1)
    states = [
        t for state in inner(optimizer).state.values() for n, t in state.items() if n.startswith("exp_avg")
    ]
    kept = sum(t.nbytes for t in states if is_away(optimizer, t))
    assert 0.5 * half < kept <= half and not all(away(optimizer))
    virtual(0.0)
    assert not any(away(trained(1)[1][1]))


@pytest.mark.parametrize(
    ("first", "second"), [((math.inf,), ()), ((), (math.inf,)), ((math.inf,), (math.inf,))]
)
def test_checkpoints_go_both_ways(virtual: Any, first: Any, second: Any) -> None:
    virtual(*first)
    _, (model, optimizer) = trained()
    saved = copy.deepcopy(optimizer.state_dict())
    weights = [p.detach().clone() for p in model.parameters()]
    text = megatron_gpt.batches(SIZE, STEPS + 1)[-1]
    wanted = [megatron_gpt.train_step(model, optimizer, text).item() for _ in range(2)]
    virtual(*second)
    model, optimizer = megatron_gpt.trainer(megatron_gpt.build(SIZE), SIZE)
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), weights, strict=True):
            parameter.copy_(value)
    for _ in range(2):  # what a second load replaces does not count twice
        optimizer.load_state_dict(copy.deepcopy(saved))
    assert set(away(optimizer)) == {bool(second)}
    assert [megatron_gpt.train_step(model, optimizer, text).item() for _ in range(2)] == wanted


@pytest.mark.parametrize("text", ["-1", "nan", "some", ""])
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(ValueError, match=r"number|convert"):
        feature.gigabytes(text)
    assert feature.gigabytes("all") == math.inf and feature.gigabytes("1.5") == 1.5


def problems(**given: Any) -> list[str]:
    features = tuple(f for f in all_features() if f.name == "virtual-optimizer")
    args = Namespace(**({"virtual_optimizer": [1.0]} | given))
    arguments.complete(args, features)
    return list(rules.problems(features, args, 2))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"virtual_optimizer": [1.0, 2.0]}, "2 numbers are given and --pipeline-model-parallel-size is 1"),
        ({"virtual_optimizer": [1.0, 2.0], "pipeline_model_parallel_size": 4}, "is 4; give one"),
        ({"optimizer_cpu_offload": True}, "does not work with --optimizer-cpu-offload"),
        ({"use_torch_fsdp2": True}, "does not work with --use-torch-fsdp2"),
        ({"optimizer": "muon"}, "--optimizer is muon"),
    ],
)
def test_rules(given: dict[str, Any], wanted: str) -> None:
    assert problems() == [] and problems(virtual_optimizer=[1.0, 2.0], pipeline_model_parallel_size=2) == []
    assert wanted in problems(**given)[0]
