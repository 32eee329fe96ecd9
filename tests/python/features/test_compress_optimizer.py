# SPDX-License-Identifier: Apache-2.0
"""--compress-optimizer: the same bits with less memory, whatever the averages; checkpoints go both ways."""

from __future__ import annotations

import copy
from argparse import Namespace
from typing import Any

import device_memory
import megatron_gpt
import pytest
import torch
from mindspeed.adaptor import arguments, rules
from mindspeed.adaptor.discovery import all_features
from mindspeed.features.memory import compress_optimizer as feature
from mindspeed.ops.fused_adam import FusedAdam

SIZE = megatron_gpt.Size(dtype=torch.bfloat16, hidden=128, layers=2, sequence=16, batch=1)
STEPS = 3


@pytest.fixture
def compressed(switch: Any) -> Any:
    def on(given: bool = True) -> None:
        switch(optimization_level=2, compress_optimizer=given)

    yield on
    switch(compress_optimizer=False)


# ---- averages ----


@pytest.mark.parametrize("numel", [32768, 32768 + 1, 3 * 65536 + 63])
def test_any_numbers_come_back(numel: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that no code makes shorter: all bits of float32 at random, NaN and infinity among them."""
    monkeypatch.setattr(feature, "PIECE", 65536)
    average = feature.Compressed("exp_avg_sq", torch.empty(numel, device="npu"))
    assert average.decoded().eq(0).all() and average.nbytes < 4 * 64
    generator = torch.Generator().manual_seed(numel)
    wild = (
        torch.randint(-(2**31), 2**31, (numel,), dtype=torch.int64, generator=generator)
        .int()
        .view(torch.float32)
    )
    for number, x in enumerate(
        (torch.randn(numel, generator=generator), wild, torch.zeros(numel), wild.flip(0)) * 2
    ):
        average.encode(x)
        assert torch.equal(average.decoded().view(torch.int32), x.view(torch.int32)), number
    assert [stop for _, stop in average.slices()][-1] == numel
    assert average.nbytes < 3.4 * numel + 2048 * 4


def test_steps_have_the_bits_of_adam(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature, "PIECE", 65536)
    ours, other = (torch.linspace(-1, 1, 200_003, device="npu") for _ in range(2))
    adam, plain = feature.CompressedAdam([ours], lr=1e-2), FusedAdam([other], lr=1e-2)
    small = torch.ones(100, device="npu")
    adam.add_param_group({"params": [small]})
    for step in range(5):
        small.grad = small.clone()
        ours.grad = other.grad = torch.randn(200_003, generator=torch.Generator().manual_seed(step)).npu()
        adam.step()
        plain.step()
        assert torch.equal(ours, other)
    for name in plain.dtypes:
        assert torch.equal(adam.get_unscaled_state(ours, name), plain.state[other][name].cpu())
        assert torch.is_tensor(adam.state[small][name])


# ---- training ----


def inner(optimizer: Any) -> Any:
    return getattr(optimizer, "chained_optimizers", [optimizer])[0].optimizer


def trained(steps: int = STEPS) -> tuple[list[float], Any]:
    model, optimizer = megatron_gpt.trainer(megatron_gpt.build(SIZE), SIZE)
    texts = megatron_gpt.batches(SIZE, steps)
    return [megatron_gpt.train_step(model, optimizer, text).item() for text in texts], (model, optimizer)


def used() -> tuple[list[float], int, list[Any]]:
    before = device_memory.in_use()
    losses, (_, optimizer) = trained()
    states = [t for s in inner(optimizer).state.values() for n, t in s.items() if n.startswith("exp_avg")]
    return losses, device_memory.in_use() - before, states


def test_training_has_the_same_bits_and_the_device_less(compressed: Any) -> None:
    compressed(False)
    wanted, whole, _ = used()
    compressed()
    found, less, states = used()
    away = [state for state in states if isinstance(state, feature.Compressed)]
    assert found == wanted and 0 < len(away) < len(states)
    saved = sum(4 * state.shape.numel() - state.nbytes for state in away)
    assert saved > 0.12 * sum(4 * state.shape.numel() for state in away)
    assert whole - less == pytest.approx(saved, rel=0.1)


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True), (True, True)])
def test_checkpoints_go_both_ways(compressed: Any, first: bool, second: bool) -> None:
    compressed(first)
    _, (model, optimizer) = trained()
    saved = copy.deepcopy(optimizer.state_dict())
    weights = [p.detach().clone() for p in model.parameters()]
    text = megatron_gpt.batches(SIZE, STEPS + 1)[-1]
    wanted = [megatron_gpt.train_step(model, optimizer, text).item() for _ in range(2)]
    compressed(second)
    model, optimizer = megatron_gpt.trainer(megatron_gpt.build(SIZE), SIZE)
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), weights, strict=True):
            parameter.copy_(value)
    optimizer.load_state_dict(copy.deepcopy(saved))
    assert [megatron_gpt.train_step(model, optimizer, text).item() for _ in range(2)] == wanted


def problems(**given: Any) -> list[str]:
    features = tuple(f for f in all_features() if f.name == "compress-optimizer")
    args = Namespace(**({"compress_optimizer": True} | given))
    arguments.complete(args, features)
    return list(rules.problems(features, args, 2))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"optimizer_cpu_offload": True}, "does not work with --optimizer-cpu-offload"),
        ({"use_torch_fsdp2": True}, "does not work with --use-torch-fsdp2"),
        ({"optimizer": "muon"}, "--optimizer is muon"),
    ],
)
def test_rules(given: dict[str, Any], wanted: str) -> None:
    assert problems() == []
    assert wanted in problems(**given)[0]
