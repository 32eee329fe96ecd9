# SPDX-License-Identifier: Apache-2.0
"""--swap-layer-input: the same bits, with inputs of recomputed layers in the host's memory between forward and backward."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import device_memory
import megatron_gpt
import pytest
import torch
from mindspeed.adaptor import arguments, rules
from mindspeed.adaptor.discovery import all_features

SIZE = megatron_gpt.Size(dtype=torch.bfloat16, layers=6, hidden=128, sequence=256)
INPUT = SIZE.sequence * SIZE.batch * SIZE.hidden * 2
FULL = {"recompute_granularity": "full", "recompute_num_layers": 1}


@pytest.fixture
def swapped(switch: Any) -> Any:
    def on(given: bool = True) -> None:
        switch(optimization_level=2, swap_layer_input=given, recompute_granularity="full")

    yield on
    switch(swap_layer_input=False, recompute_granularity=None)


def held(method: str, layers: int) -> tuple[list[float], list[torch.Tensor], int]:
    """Losses of two passes, gradients, and the bytes held between forward and backward."""
    config = FULL | {"recompute_method": method, "recompute_num_layers": layers}
    model = megatron_gpt.build(SIZE, **config)
    texts = megatron_gpt.batches(SIZE, 2)
    positions = torch.arange(SIZE.sequence, device="npu").expand(SIZE.batch, -1)
    before = device_memory.in_use()
    losses = [
        model(text[:, :-1].contiguous(), positions, None, labels=text[:, 1:].contiguous()).float().mean()
        for text in texts
    ]
    torch.npu.synchronize()
    between = torch.npu.memory_allocated() - before
    for loss in losses:
        loss.backward()
    return [loss.item() for loss in losses], [p.grad.cpu() for p in model.parameters()], between


@pytest.mark.parametrize(
    ("method", "layers", "inputs"), [("uniform", 1, 6), ("uniform", 2, 3), ("block", 4, 4)]
)
def test_the_same_bits_and_inputs_are_away(swapped: Any, method: str, layers: int, inputs: int) -> None:
    swapped(False)
    wanted, gradients, whole = held(method, layers)
    swapped()
    found, same, less = held(method, layers)
    assert found == wanted and all(map(torch.equal, same, gradients))
    # Of two passes, but that of the last layers, which is not away yet.
    assert whole - less >= (2 * inputs - 2) * INPUT


def test_training(swapped: Any) -> None:
    swapped(False)
    wanted = megatron_gpt.losses(SIZE, 3, **FULL, recompute_method="uniform")
    swapped()
    assert megatron_gpt.losses(SIZE, 3, **FULL, recompute_method="uniform") == wanted


def problems(**given: Any) -> list[str]:
    features = tuple(f for f in all_features() if f.name == "swap-layer-input")
    args = Namespace(**({"swap_layer_input": True, "recompute_granularity": "full"} | given))
    arguments.complete(args, features)
    return list(rules.problems(features, args, 2))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"recompute_granularity": "selective"}, "needs --recompute-granularity full"),
        ({"recompute_granularity": None}, "needs --recompute-granularity full"),
        ({"distribute_saved_activations": True}, "--distribute-saved-activations"),
        ({"fp8": "e4m3"}, "leave out --fp8-format"),
    ],
)
def test_rules(given: dict[str, Any], wanted: str) -> None:
    assert problems() == []
    assert wanted in problems(**given)[0]
