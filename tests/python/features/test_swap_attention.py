# SPDX-License-Identifier: Apache-2.0
"""--swap-attention: the same training, with what attention saves in the host's memory between forward and backward."""

from __future__ import annotations

from argparse import Namespace
from types import SimpleNamespace
from typing import Any

import device_memory
import memory_cases
import pytest
import torch
import torch_npu  # noqa: F401
from mindspeed.adaptor import Level, arguments, rules
from mindspeed.features.fusion import flash_attention
from mindspeed.features.memory import swap_attention as feature

NPU = torch.device("npu")
ROWS, WIDTH, LAYERS = 256, 128, 4
TENSOR = ROWS * WIDTH * 4


class Half(torch.nn.Module):
    """Saves its input, a part of it, its sigmoid transposed, and a square of the input; and its parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(WIDTH, WIDTH))

    def forward(self, x: torch.Tensor, shared: torch.Tensor) -> torch.Tensor:
        front, back = (x * x * shared).split(WIDTH // 2, dim=1)
        return (x @ self.weight + x.t().sigmoid().t()).tanh() + torch.cat([front * back, back.sin()], dim=1)


class Layer(torch.nn.Module):
    def __init__(self, number: int, modules: str) -> None:
        super().__init__()
        self.config = SimpleNamespace(swap_modules=modules)
        self.layer_number = number
        self.self_attention, self.mlp = Half(), Half()

    def plain(self, hidden_states: torch.Tensor, shared: torch.Tensor) -> torch.Tensor:
        return self.mlp(self.self_attention(hidden_states, shared), shared) * 0.1

    forward = feature.swapping(plain)


def train(modules: str, passes: int = 2) -> tuple[list[torch.Tensor], int]:
    """Gradients of `passes` forward passes followed by as many backward passes, and the bytes held between them."""
    torch.manual_seed(3)
    layers = [Layer(number + 1, modules) for number in range(LAYERS)]
    inputs = [torch.randn(ROWS, WIDTH).to(NPU).requires_grad_() for _ in range(passes)]
    shared = torch.rand(ROWS, WIDTH).to(NPU)
    for layer in layers:
        layer.to(NPU)
    before = device_memory.in_use()
    outputs = []
    for hidden in inputs:
        for layer in layers:
            hidden = layer(hidden, shared)
        outputs.append(hidden.sum())
        del hidden
    torch.npu.synchronize()
    held = torch.npu.memory_allocated() - before
    for output in outputs:
        output.backward()
    parameters = [layer.self_attention.weight for layer in layers]
    return [x.grad.cpu() for x in (*inputs, *parameters)], held


def test_gradients_are_the_same_and_the_memory_is_given_back() -> None:
    wanted, held = train("")
    found, less = train("self_attention")
    assert all(map(torch.equal, found, wanted))
    # The input, its sigmoid, the product and tanh of all layers but the last one; inputs of the first are the test's.
    assert held - less >= ((2 * LAYERS - 1) * 4 - 2) * TENSOR
    every, least = train("self_attention,mlp")
    assert all(map(torch.equal, every, wanted))
    assert least < less


def test_blocks_end_with_the_graph() -> None:
    layer = Layer(1, "self_attention").to(NPU)
    x = torch.randn(ROWS, WIDTH).to(NPU).requires_grad_()
    output = layer(x, x.detach())
    saved = feature._last
    assert saved is not None and len(saved._blocks) >= 3
    # The parameter and what all layers are given stay where they are.
    kept = {layer.self_attention.weight.data_ptr(), x.detach().data_ptr()}
    assert kept.isdisjoint(block.device.data_ptr() for block in saved._blocks if block.device is not None)
    output.sum().backward()
    del output
    assert len(saved._blocks) == 0


def test_what_others_hold_is_neither_moved_nor_copied_again() -> None:
    mask = torch.rand(ROWS, WIDTH).to(NPU)
    assert feature.holders(mask) == 1

    class Masked(Half):
        def forward(self, x: torch.Tensor, shared: torch.Tensor) -> torch.Tensor:
            return (x * mask).sin() * shared

    layers = [Layer(number + 1, "self_attention").to(NPU) for number in range(3)]
    for layer in layers:
        layer.self_attention = Masked().to(NPU)
    hidden, shared = torch.randn(ROWS, WIDTH).to(NPU).requires_grad_(), torch.ones(ROWS, WIDTH, device=NPU)
    places = []
    for layer in layers:
        hidden = layer(hidden, shared)
        assert feature._last is not None
        places.append({block.place[0] for block in feature._last._blocks if block.device is not None})
    # The second layer saves it before the first one has left, the third one knows.
    assert [mask.data_ptr() in found for found in places] == [True, True, False]
    hidden.sum().backward()


def test_backward_twice() -> None:
    layer = Layer(1, "self_attention").to(NPU)
    x = torch.randn(ROWS, WIDTH).to(NPU).requires_grad_()
    output = layer(x, torch.ones(ROWS, WIDTH, device=NPU)).sum()
    assert feature._last is not None
    feature._last.leave()
    output.backward(retain_graph=True)
    once = x.grad.clone()
    output.backward()
    assert torch.equal(x.grad, 2 * once)


def test_unknown_module_is_an_error() -> None:
    layer = Layer(1, "input_norm,self_attention").to(NPU)
    with pytest.raises(
        ValueError, match="--swap-modules input_norm: a layer has no such module; it has self_attention, mlp"
    ):
        layer(torch.ones(ROWS, WIDTH, device=NPU, requires_grad=True), torch.ones(ROWS, WIDTH, device=NPU))


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, ""),
        (
            {"use_flash_attn": False},
            "needs feature flash-attention (--use-flash-attn), which is off (--no-flash-attn)",
        ),
        ({"deterministic_mode": True}, "which is off (not asked for)"),
        ({"swap_modules": "input_norms"}, "--swap-modules input_norms: a layer has no 'input_norms'"),
        ({"swap_modules": "mine", "spec": ["a", "b"]}, ""),
        ({"lora_target_modules": ["linear_qkv"]}, "LoRA"),
        ({"recompute_granularity": "full", "recompute_method": "uniform"}, "leaves nothing to swap"),
    ],
)
def test_rules(given: dict[str, Any], problem: str) -> None:
    features = [flash_attention.FEATURE, feature.FEATURE]
    args = Namespace(**{"swap_attention": True, "swap_modules": "self_attention"} | given)
    arguments.complete(args, features)
    found = rules.problems(features, args, Level.ACCELERATION)
    assert len(found) == bool(problem) and problem in "".join(found)


@pytest.mark.slow
def test_training_is_the_same_with_less_memory() -> None:
    wanted, found = memory_cases.result("long"), memory_cases.result("attention")
    assert memory_cases.training("attention") == memory_cases.training("long")
    # Of three layers at least: query, key and value, and what attention and both norms were given and gave.
    tokens = memory_cases.LONG["SEQUENCE"] * 128 * 2
    assert wanted["peak"] - found["peak"] >= 3 * 7 * tokens


def test_all_memory_features_together() -> None:
    assert memory_cases.training("all") == memory_cases.training("long")
    assert memory_cases.result("all")["peak"] < memory_cases.result("attention")["peak"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["w2-tp", "w2-pp", "w2-moe"])
def test_training_on_two_ranks(name: str) -> None:
    assert memory_cases.training(f"{name}-attention") == memory_cases.training(name)
    assert memory_cases.result(f"{name}-attention")["peak"] < memory_cases.result(name)["peak"]
