# SPDX-License-Identifier: Apache-2.0
"""--recompute-norm: the same training, without the outputs of norms in memory."""

from __future__ import annotations

import re
import weakref
from argparse import Namespace
from types import SimpleNamespace
from typing import Any

import memory_cases
import pytest
import torch
from mindspeed.adaptor import Level, rules
from mindspeed.features.memory import recompute_norm as feature

HIDDEN, TOKENS = 8, 4


class Layer(torch.nn.Module):
    """Two parts, each a norm and what reads its output."""

    def __init__(self, most: int | None = None) -> None:
        super().__init__()
        self.config = SimpleNamespace(
            recompute_granularity=None, recompute_num_layers=None, recompute_norm_num_layers=most
        )
        self.input_layernorm, self.pre_mlp_layernorm = torch.nn.LayerNorm(HIDDEN), torch.nn.LayerNorm(HIDDEN)
        self.one, self.other = torch.nn.Linear(HIDDEN, HIDDEN), torch.nn.Linear(HIDDEN, HIDDEN)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        hidden = hidden + self.one(self.input_layernorm(hidden))
        between = self.pre_mlp_layernorm(hidden)
        return hidden + self.other(between).tanh() * between


recomputed = feature.recomputing(Layer.forward)


def gradients(layer: Layer, forward: Any, times: int = 1) -> list[torch.Tensor]:
    torch.manual_seed(1)
    hidden = torch.randn(TOKENS, HIDDEN, requires_grad=True)
    layer.zero_grad()
    output = forward(layer, hidden)
    for again in range(times):
        output.square().sum().backward(retain_graph=again + 1 < times)
    return [output.detach(), hidden.grad, *(p.grad.clone() for p in layer.parameters())]


@pytest.mark.parametrize("times", [1, 2])
def test_gradients_are_the_same(times: int) -> None:
    layer = Layer()
    wanted = gradients(layer, Layer.forward, times)
    assert all(map(torch.equal, gradients(layer, recomputed, times), wanted))
    assert "forward" not in vars(layer.input_layernorm)


def test_outputs_of_norms_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    note = feature._Norms.note

    def noting(self: Any, tensor: torch.Tensor) -> Any:
        asked.append(note(self, tensor))
        return asked[-1]

    monkeypatch.setattr(feature._Norms, "note", noting)
    output = recomputed(Layer(), torch.randn(TOKENS, HIDDEN, requires_grad=True))
    # Each linear layer's input, and the factor of the product.
    assert sum(isinstance(found, tuple) for found in asked) == 3
    assert output.requires_grad


def test_outputs_of_norms_are_freed() -> None:
    layer, outputs = Layer(), []
    for norm in (layer.input_layernorm, layer.pre_mlp_layernorm):
        norm.register_forward_hook(lambda norm, inputs, output: outputs.append(weakref.ref(output)))
    hidden = torch.randn(TOKENS, HIDDEN, requires_grad=True)
    results = [Layer.forward(layer, hidden)]
    assert [output() is None for output in outputs] == [False, False]
    results.append(recomputed(layer, hidden))
    assert [output() is None for output in outputs] == [False, False, True, True]


def test_norm_that_does_something_else_is_an_error() -> None:
    layer, calls = Layer(), []
    norm = layer.input_layernorm.forward

    def changing(hidden: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return norm(hidden) if len(calls) == 1 else norm(hidden).exp().tanh()

    layer.input_layernorm.forward = changing  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match=r"--recompute-norm: the norm saved \d+ tensors"):
        gradients(layer, recomputed)
    assert layer.input_layernorm.forward is changing


def test_layers_are_chosen_by_their_number() -> None:
    layer = Layer(most=1)
    for place, wanted in ((0, 3), (1, 0)):
        setattr(layer, feature._PLACE, place)
        with pytest.MonkeyPatch.context() as patch:
            asked: list[Any] = []
            note = feature._Norms.note
            patch.setattr(feature._Norms, "note", lambda self, t: asked.append(note(self, t)) or asked[-1])
            recomputed(layer, torch.randn(TOKENS, HIDDEN, requires_grad=True))
        assert sum(isinstance(found, tuple) for found in asked) == wanted


# Bytes of what the two norms of a layer give, of one sample in bf16, and of each row's mean and deviation in fp32.
LAYERS, ROWS = 4, memory_cases.LONG["SEQUENCE"]
OUTPUTS, STATISTICS = 2 * ROWS * 128 * 2, 2 * ROWS * 2 * 4


@pytest.mark.slow
def test_training_is_the_same_with_less_memory() -> None:
    assert memory_cases.training("norm") == memory_cases.training("long")
    saved = memory_cases.result("long")["peak"] - memory_cases.result("norm")["peak"]
    # All layers' where the peak is the loss; in the backward pass of a layer it has its own again.
    assert (LAYERS - 1) * OUTPUTS <= saved <= LAYERS * (OUTPUTS + STATISTICS)


@pytest.mark.slow
def test_training_on_two_ranks() -> None:
    assert memory_cases.training("w2-tp-norm") == memory_cases.training("w2-tp")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"recompute_norm_num_layers": 5}, r"num-layers is 5, wanted 0 to --num-layers \(4\)"),
        ({"recompute_norm_num_layers": -1}, "num-layers is -1, wanted 0 to"),
        ({"recompute_granularity": "full", "recompute_method": "uniform"}, "give --recompute-method block"),
        ({"recompute_granularity": "full", "recompute_method": "block"}, ""),
        ({"use_legacy_models": True}, "--use-legacy-models builds its layers in another way"),
    ],
)
def test_rules(given: dict[str, Any], problem: str) -> None:
    args = Namespace(
        **{
            "recompute_norm": True,
            "recompute_norm_num_layers": None,
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
