# SPDX-License-Identifier: Apache-2.0
"""--recompute-in-advance: the same training, recomputed before gradients come, and not at all in the last layer."""

from __future__ import annotations

import contextlib
import re
import sys
from argparse import Namespace
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import memory_cases
import pytest
import torch
from mindspeed.adaptor import Level, rules
from mindspeed.features.pipeline import _passes
from mindspeed.features.pipeline import recompute_in_advance as feature


@pytest.fixture
def random(monkeypatch: pytest.MonkeyPatch) -> None:
    """Megatron's generators, as PyTorch's of the CPU; without Megatron, which would stay loaded."""
    module = ModuleType("megatron.core.tensor_parallel.random")
    vars(module).update(
        _get_all_rng_states=lambda: (torch.get_rng_state(),),
        _set_all_rng_states=torch.set_rng_state,
        _fork_rng=lambda: torch.random.fork_rng(devices=[]),
    )
    parent = ModuleType("megatron.core.tensor_parallel")
    vars(parent)["random"] = module
    for name in ("megatron", "megatron.core"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, parent.__name__, parent)
    monkeypatch.setitem(sys.modules, module.__name__, module)


@contextlib.contextmanager
def in_schedule(monkeypatch: pytest.MonkeyPatch, is_last: bool) -> Iterator[_passes.Schedule]:
    monkeypatch.setattr(_passes, "_is_last_stage", lambda: is_last)
    monkeypatch.setattr(feature, "_layers_of", lambda model: 2)
    monkeypatch.setattr(_passes.Schedule, "now", _passes.Schedule(1, feature.keeping_all))
    assert _passes.Schedule.now is not None
    yield _passes.Schedule.now


class Counted:
    """Layers that count how often they are run."""

    def __init__(self) -> None:
        torch.manual_seed(3)
        self.calls = 0
        self.weight = torch.randn(4, 4, requires_grad=True)

    def layer(self, hidden: torch.Tensor, mask: None) -> tuple[torch.Tensor, None]:
        self.calls += 1
        return torch.nn.functional.dropout((hidden @ self.weight).tanh(), 0.5), None


def refuse(*args: Any) -> Any:
    raise AssertionError("Megatron's own way")


@pytest.mark.parametrize(("is_last", "again"), [(False, 2), (True, 1)])
def test_layers_run_again_before_the_gradient(
    monkeypatch: pytest.MonkeyPatch, random: None, is_last: bool, again: int
) -> None:
    plain, counted = Counted(), Counted()
    torch.manual_seed(1)
    start = torch.randn(3, 4, requires_grad=True)
    state = torch.get_rng_state()
    wanted = plain.layer(plain.layer(start, None)[0], None)[0]
    wanted.square().sum().backward()
    gradients = [start.grad, plain.weight.grad]

    start = start.detach().requires_grad_()
    torch.set_rng_state(state)
    checkpoint = feature.in_pass(refuse)
    with in_schedule(monkeypatch, is_last) as schedule:
        with schedule.forward(torch.nn.Module()):
            hidden = start
            for _ in range(2):
                hidden, _ = checkpoint(counted.layer, False, hidden, None)
        assert torch.equal(hidden, wanted) and counted.calls == 2
        schedule.recompute()
        assert counted.calls == 2 + again
        hidden.square().sum().backward()
        schedule.backward_done()
    assert counted.calls == 2 + again
    assert torch.equal(start.grad, gradients[0]) and torch.equal(counted.weight.grad, gradients[1])


def test_outside_of_a_schedule_it_is_megatrons() -> None:
    assert feature.in_pass(lambda *args: args)("layer", False, 1) == ("layer", False, 1)


@pytest.mark.slow
def test_training_is_the_same() -> None:
    assert memory_cases.training("w2-pp-advance") == memory_cases.training("w2-pp-block")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, ""),
        ({"recompute_granularity": None}, "nothing is recomputed; give --recompute-granularity full"),
        ({"recompute_granularity": "selective"}, "nothing is recomputed; give"),
        (
            {"recompute_method": "uniform"},
            "recomputes several layers at a time; give --recompute-method block",
        ),
        ({"pipeline_model_parallel_size": 1}, "is for pipelines"),
        ({"num_layers_per_virtual_pipeline_stage": None}, "is for interleaved pipelines"),
        ({"overlap_p2p_comm": False}, "leave out --no-overlap-p2p-communication"),
    ],
)
def test_rules(given: dict[str, Any], problem: str) -> None:
    pipeline = {
        "pipeline_model_parallel_size": 2, "num_layers_per_virtual_pipeline_stage": 1, "overlap_p2p_comm": True,
        "recompute_granularity": "full", "recompute_method": "block",
    }  # fmt: skip
    args = Namespace(recompute_in_advance=True, **(pipeline | given))
    found = rules.problems([feature.FEATURE], args, Level.ACCELERATION)
    assert len(found) == bool(problem)
    if problem:
        assert re.search(problem, found[0]), found
