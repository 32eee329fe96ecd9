# SPDX-License-Identifier: Apache-2.0
"""--swap-optimizer: the same training, with main parameters and states of the optimizer in the host's memory."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import device_memory
import memory_cases
import pytest
import torch
import torch_npu  # noqa: F401
from mindspeed.adaptor import Level, rules
from mindspeed.adaptor.discovery import all_features
from mindspeed.features.memory._sliced_step import SlicedStep
from mindspeed.features.memory.swap_optimizer import Host
from mindspeed.ops.fused_adam import FusedAdam

NPU = torch.device("npu")


def test_nothing_of_the_optimizer_stays_on_the_device() -> None:
    numel, slices = 1 << 20, 8
    main = torch.randn(numel, device=NPU)
    wanted = main.clone()
    gradient = torch.randn(numel, device=NPU)
    model = main.bfloat16()
    before = device_memory.in_use()
    optimizer = FusedAdam([main], lr=1e-2)
    SlicedStep(optimizer, [(main, model)], Host(), slices)
    main.grad = gradient
    torch.npu.synchronize()
    torch.npu.reset_peak_memory_stats()
    for _ in range(3):
        optimizer.step()
    torch.npu.synchronize()
    # The parameter's 4 bytes are away; of slices with 12 bytes there are three at a time: leaving, there and coming.
    assert torch.npu.memory_allocated() - before == pytest.approx(-4 * numel, rel=0.01)
    assert torch.npu.max_memory_allocated() - before <= -4 * numel + 3 * 12 * numel // slices + 65536
    assert all(state.is_cpu and state.is_pinned() for state in optimizer.state[main].values())
    reference = FusedAdam([wanted], lr=1e-2)
    wanted.grad = gradient
    for _ in range(3):
        reference.step()
    assert torch.equal(model, wanted.bfloat16())
    assert all(
        torch.equal(optimizer.state[main][name], reference.state[wanted][name].cpu())
        for name in ("exp_avg", "exp_avg_sq")
    )


@pytest.mark.parametrize(
    ("given", "problems"),
    [
        ({}, []),
        ({"use_distributed_optimizer": False}, ["(--swap-optimizer) needs --use-distributed-optimizer"]),
        ({"swap_optimizer_times": 0}, ["--swap-optimizer-times is 0, wanted 1 or more"]),
        ({"optimizer_cpu_offload": True}, ["--optimizer-cpu-offload keeps the main parameters itself"]),
    ],
)
def test_rules(given: dict[str, Any], problems: list[str]) -> None:
    features = [f for f in all_features() if f.name == "swap-optimizer"]
    args = Namespace(
        **{"swap_optimizer": True, "swap_optimizer_times": 16, "use_distributed_optimizer": True} | given
    )
    found = rules.problems(features, args, Level.ACCELERATION)
    assert len(found) == len(problems)
    assert all(problem in sentence for problem, sentence in zip(problems, found, strict=True)), found


@pytest.mark.slow
def test_training_is_the_same_with_less_memory() -> None:
    assert memory_cases.is_same_until_checkpoint("swap-save", "distributed")
    assert memory_cases.is_same_after_checkpoint("swap-load", "distributed")
    found, other = memory_cases.result("swap-load"), memory_cases.result("distributed")
    whole = 12 * found["parameters"]
    assert other["held"] - found["held"] == pytest.approx(whole, rel=0.02)
    assert other["peak"] - found["peak"] >= whole * (1 - 3 / 16) * 0.98


@pytest.mark.slow
def test_checkpoint_is_that_of_any_training() -> None:
    assert memory_cases.is_same_after_checkpoint("distributed-load-swap", "distributed")


@pytest.mark.slow
def test_training_on_two_ranks() -> None:
    assert memory_cases.training("w2-swap") == memory_cases.training("w2-overlap")
    assert memory_cases.is_same_after_checkpoint("w2-swap-load", "w2-overlap")
    assert memory_cases.training("w2-moe-swap") == memory_cases.training("w2-moe")
    found, other = memory_cases.result("w2-swap"), memory_cases.result("w2-overlap")
    assert other["held"] - found["held"] == pytest.approx(6 * found["parameters"], rel=0.05)
