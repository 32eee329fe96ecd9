# SPDX-License-Identifier: Apache-2.0
"""--recompute-activation-function: the same training, without the activation functions' outputs in memory."""

from __future__ import annotations

import re
from argparse import Namespace
from types import SimpleNamespace
from typing import Any

import memory_cases
import pytest
import torch
from mindspeed.adaptor import Level, rules
from mindspeed.features.memory import recompute_activation_function as feature
from torch.autograd.graph import saved_tensors_hooks

HIDDEN, WIDE = 8, 32


class Linear(torch.nn.Linear):
    """As Megatron's: the bias is added later."""

    def forward(self, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.nn.functional.linear(hidden, self.weight), self.bias


def apply_module(layer: Any) -> Any:
    """As Megatron's from 0.17 on."""
    assert isinstance(layer, torch.nn.Module)
    return layer


class MLP(torch.nn.Module):
    def __init__(self, activation: Any = torch.nn.functional.silu, most: int | None = None) -> None:
        super().__init__()
        self.config = SimpleNamespace(
            recompute_granularity=None,
            recompute_num_layers=None,
            recompute_activation_function_num_layers=most,
        )
        self.linear_fc1, self.linear_fc2 = Linear(HIDDEN, 2 * WIDE), Linear(WIDE, HIDDEN)
        self.activation = activation

    def forward(
        self, hidden: torch.Tensor, scale: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        between, bias = apply_module(self.linear_fc1)(hidden)
        gate, value = (between + bias).chunk(2, dim=-1)
        between = self.activation(gate) * value
        if scale is not None:
            between = between * scale
        return apply_module(self.linear_fc2)(between)


recomputed = feature.recomputing(MLP.forward)


def tensors() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(4, HIDDEN, requires_grad=True), torch.rand(4, 1, requires_grad=True)


def gradients(mlp: MLP, forward: Any, times: int = 1) -> list[torch.Tensor]:
    hidden, scale = tensors()
    mlp.zero_grad()
    output, bias = forward(mlp, hidden, scale)
    for again in range(times):
        (output + bias).square().sum().backward(retain_graph=again + 1 < times)
    return [output.detach(), hidden.grad, scale.grad, *(p.grad.clone() for p in mlp.parameters())]


@pytest.mark.parametrize("times", [1, 2])
def test_gradients_are_the_same(times: int) -> None:
    mlp = MLP()
    wanted = gradients(mlp, MLP.forward, times)
    assert all(map(torch.equal, gradients(mlp, recomputed, times), wanted))


def saved_elements(mlp: MLP, forward: Any) -> int:
    """Of all tensors that autograd keeps, without those that are parameters."""
    alive: dict[int, int] = {}
    known = {p.untyped_storage().data_ptr() for p in mlp.parameters()}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        alive[storage.data_ptr()] = storage.nbytes() // 4
        return tensor

    hidden, scale = tensors()
    with saved_tensors_hooks(note, lambda tensor: tensor):
        output = forward(mlp, hidden, scale)
    del output
    return sum(size for begin, size in alive.items() if begin not in known)


def test_nothing_between_the_layers_is_kept() -> None:
    kept = saved_elements(MLP(), MLP.forward) - saved_elements(MLP(), recomputed)
    # Sum of output and bias, activated gate, product, scaled product, scale.
    assert kept == 4 * (2 * WIDE + 3 * WIDE) + 4


def test_activation_that_does_something_else_is_an_error() -> None:
    calls = []

    def changing(x: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return torch.nn.functional.silu(x) if len(calls) == 1 else x.exp().tanh()

    with pytest.raises(
        RuntimeError, match=r"saved \d+ tensors in the forward pass and \d+ when it ran again"
    ):
        gradients(MLP(changing), recomputed)


@pytest.mark.parametrize(
    ("most", "first", "chosen"),
    [(None, 0, [0, 1, 2, 3]), (2, 0, [0, 1]), (1, 2, [2]), (None, 3, [3]), (0, 0, [])],
)
def test_layers_are_chosen_after_those_recomputed_as_a_whole(
    most: int | None, first: int, chosen: list[int]
) -> None:
    mlp = MLP(most=most)
    if first:
        mlp.config.recompute_granularity, mlp.config.recompute_num_layers = "full", first
    found = []
    for place in range(4):
        setattr(mlp, feature._PLACE, place)
        if feature._is_chosen(mlp):
            found.append(place)
    assert found == chosen


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"recompute_activation_function_num_layers": 5}, r"num-layers is 5, wanted 0 to --num-layers \(4\)"),
        ({"recompute_activation_function_num_layers": -1}, "num-layers is -1, wanted 0 to"),
        ({"recompute_granularity": "full", "recompute_method": "uniform"}, "give --recompute-method block"),
        ({"recompute_granularity": "full", "recompute_method": "block"}, ""),
    ],
)
def test_rules(given: dict[str, Any], problem: str) -> None:
    args = Namespace(
        **{
            "recompute_activation_function": True,
            "recompute_activation_function_num_layers": None,
            "num_layers": 4,
            "recompute_granularity": None,
            "recompute_method": None,
        }
        | given
    )
    found = rules.problems([feature.FEATURE], args, Level.ACCELERATION)
    assert len(found) == bool(problem)
    if problem:
        assert re.search(problem, found[0]), found


# Bytes of the output of one layer's activation function, of one sample.
LAYERS, OUTPUT = 4, memory_cases.LONG["SEQUENCE"] * 4 * 128 * 2


@pytest.mark.slow
def test_training_is_the_same_with_less_memory() -> None:
    wanted, found = memory_cases.result("long"), memory_cases.result("recompute")
    assert memory_cases.training("recompute") == memory_cases.training("long")
    # The most is held in the backward pass of a layer, which has its output again and the sum of its input and bias.
    assert (LAYERS - 2) * OUTPUT <= wanted["peak"] - found["peak"] < LAYERS * OUTPUT


@pytest.mark.slow
@pytest.mark.parametrize("name", ["w2-tp", "w2-moe"])
def test_training_on_two_ranks(name: str) -> None:
    assert memory_cases.training(f"{name}-recompute") == memory_cases.training(name)
    assert memory_cases.result(f"{name}-recompute")["peak"] < memory_cases.result(name)["peak"]
