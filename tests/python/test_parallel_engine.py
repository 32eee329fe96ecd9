# SPDX-License-Identifier: Apache-2.0
"""The engine of mindspeed.fsdp: models of transformers train by plan only like on one rank; wrong plans are errors that say
what is wrong; what it keeps of activations and logits changes memory and no result."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torchrun
from mindspeed.fsdp.distributed.expert_parallel.expert_fully_shard_parallel import get_efsdp_modules
from mindspeed.fsdp.distributed.expert_parallel.expert_parallel import expert_parallelize_modules
from mindspeed.fsdp.distributed.fully_shard_parallel.fully_shard_parallel import get_fsdp_modules
from mindspeed.fsdp.distributed.tensor_parallel.tensor_parallel import tensor_parallel_modules
from mindspeed.fsdp.memory.chunk_loss.chunk_loss import calculate_lm_loss, chunk_loss
from mindspeed.fsdp.memory.recompute.recompute import recompute_modules
from mindspeed.fsdp.memory.swap_activation.swap_activation import swap_activation_modules
from mindspeed.fsdp.parallel_engine_config import (
    EPPlanConfig,
    FSDPPlanConfig,
    ParallelEngineConfig,
    QuantizeConfig,
    TPPlanConfig,
)
from mindspeed.fsdp.utils.dtype import get_dtype
from torch import nn

ROOT = Path(__file__).parents[2]
JOB = ROOT / "tests/support/engine_job.py"
EXAMPLE = ROOT / "examples/parallel_engine/train.py"
# fp32, sums in another order: the largest relative differences seen were 2e-7.
BOUND = 1e-4
TIMEOUT_S = 600
# Buffers of many communicators in one process, and of devices that share the host's memory.
SMALL = {"HCCL_BUFFSIZE": "2", "MINDSPEED_DEVICE_MEMORY": "2G"}


@functools.cache
def train(world: int, layouts: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    done = torchrun.run(world, JOB, layouts, timeout=TIMEOUT_S, environment=SMALL)
    assert done.returncode == 0, torchrun.errors(done)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {row["layout"]: row for row in rows}


def compare(*layouts: str) -> None:
    wanted = train(1, ("dense", "moe"))
    found = train(4, layouts)
    assert list(found) == list(layouts)
    for layout, row in found.items():
        one = wanted[layout.partition("-")[0]]
        for what in ("losses", "norms"):
            pairs = zip(row[what], one[what], strict=True)
            difference = max(abs(a - b) / b for a, b in pairs)
            assert difference <= BOUND, f"{layout}: {what} differ by {difference:.1e}"
        assert row["own_parameters"] < 0.6 * one["own_parameters"], layout
    assert all(one["losses"][-1] < one["losses"][0] - 0.2 for one in wanted.values())


@pytest.mark.slow
def test_a_plan_trains_like_one_rank_on_four_ranks() -> None:
    compare("dense-fsdp4", "dense-tp2-fsdp2", "dense-cp2-ulysses2", "moe-ep2-fsdp2")


@pytest.mark.slow
def test_other_plans_train_like_one_rank() -> None:
    compare("dense-recompute", "dense-dp2-fsdp2", "dense-tp2-ulysses2", "dense-ulysses4", "dense-cp2-fsdp2")


@pytest.mark.slow
def test_other_plans_of_experts_train_like_one_rank() -> None:
    compare("moe-fsdp4", "moe-ep2-fused", "moe-ep4-tp2")


@pytest.mark.slow
def test_the_example_of_the_page_runs_on_four_ranks() -> None:
    assert EXAMPLE.read_text(encoding="utf-8").partition('"""\n\n')[2] in (
        ROOT / "docs/parallel_engine.md"
    ).read_text(encoding="utf-8")
    done = torchrun.run(4, EXAMPLE, ["6"], timeout=TIMEOUT_S, environment=SMALL)
    assert done.returncode == 0, torchrun.errors(done)
    losses = [
        float(line.split()[3].rstrip(",")) for line in done.stdout.splitlines() if line.startswith("step")
    ]
    assert len(losses) == 6 and losses[-1] < losses[0] - 0.1, done.stdout


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(32, 48), nn.Linear(48, 32)

    def forward(self, hidden_states: torch.Tensor, cache: Any = None) -> torch.Tensor:
        assert cache is None
        return hidden_states + self.second(torch.nn.functional.gelu(self.first(hidden_states)))


class Experts(nn.Module):
    def __init__(self, count: int) -> None:
        super().__init__()
        self.gate_up_proj = nn.Parameter(torch.zeros(count, 8, 4))
        self.down_proj = nn.Parameter(torch.zeros(count, 4, 4))


def blocks(count: int = 4) -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(*(Block() for _ in range(count)))


MESH = SimpleNamespace(size=lambda: 5, get_local_rank=lambda: 0)
LINEARS = ["quantize.linear.mx"]
CONFIGS = {
    "no number of ranks": ({"tensor_parallel_size": 0}, "tensor_parallel_size is 0"),
    "no modules to share": ({"tensor_parallel_size": 2}, "tp_plan names no modules"),
    "no experts": ({"expert_parallel_size": 2}, "names no experts"),
    "another dispatcher": ({"ep_plan": EPPlanConfig(dispatcher="mc2")}, "there are eager, fused"),  # type: ignore[arg-type]
    "no modules to compute again": ({"recompute": True}, "recompute_plan names no modules"),
    "a word for a list": ({"recompute_plan": "layers"}, "wanted a list of patterns"),
    "an unknown option": (
        {"fsdp_plan": FSDPPlanConfig(apply_modules={"a": {"reshard": True}})},
        "there are reshard_after_forward",
    ),
    "a list of units": ({"fsdp_plan": FSDPPlanConfig(apply_modules=["a"])}, "wanted a dictionary"),  # type: ignore[arg-type]
    "nothing in low precision": (
        {"quantization_plan": QuantizeConfig(recipe_name="mxfp8")},
        "give quant_converters",
    ),
    "an unknown recipe": (
        {"quantization_plan": QuantizeConfig(recipe_name="int3")},
        "there are mxfp8, mxfp8-32x32",
    ),
    "experts in low precision": (
        {"quantization_plan": QuantizeConfig(recipe_name="mxfp8", quant_converters=["quantize.moe"])},
        "there are quantize.linear.mx and quantize.moe.mx",
    ),
    "an unknown mode of gathers": (
        {"quantization_plan": QuantizeConfig("mxfp8", ["a"], [], LINEARS, {}, True, "often")},  # type: ignore[arg-type]
        "wanted on-demand or all",
    ),
    "layers in low precision that are cut": (
        {
            "quantization_plan": QuantizeConfig("mxfp8", ["a"], [], LINEARS),
            "tensor_parallel_size": 2,
            "tp_plan": TPPlanConfig(colwise_parallel=["a"]),
        },
        "layers that are cut over ranks are not quantised",
    ),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_wrong_configurations_say_what_is_wrong(case: str) -> None:
    given, words = CONFIGS[case]
    with pytest.raises((ValueError, TypeError, NotImplementedError), match=words):
        ParallelEngineConfig(**given)


def test_patterns_that_fit_nothing_are_errors() -> None:
    plans: list[Any] = [
        lambda m: tensor_parallel_modules(m, MESH, TPPlanConfig(colwise_parallel=["*.q_proj"])),
        lambda m: recompute_modules(m, ["layers.{*}"]),
        lambda m: swap_activation_modules(m, ["layers.{*}"]),
        lambda m: get_fsdp_modules(m, FSDPPlanConfig(apply_modules={"layers.*": {}}), set()),
        lambda m: expert_parallelize_modules(m, MESH, EPPlanConfig(apply_modules=["*experts"])),
    ]
    for plan in plans:
        with pytest.raises(ValueError, match="no module fits .*modules are 0, 0.first"):
            plan(blocks())


def test_sizes_that_do_not_divide_are_errors() -> None:
    with pytest.raises(ValueError, match="0.first has 48 of what 5 ranks"):
        tensor_parallel_modules(blocks(), MESH, TPPlanConfig(colwise_parallel=["*.first"]))
    with pytest.raises(ValueError, match="0.first is both"):
        plan = TPPlanConfig(colwise_parallel=["*.first"], rowwise_parallel=["*.first"])
        tensor_parallel_modules(blocks(), SimpleNamespace(size=lambda: 2), plan)
    with pytest.raises(TypeError, match="0 is a Block"):
        tensor_parallel_modules(blocks(), MESH, TPPlanConfig(rowwise_parallel=["0"]))
    plan_of_experts = EPPlanConfig(apply_modules=["*"], dispatcher="eager", apply_efsdp_modules=["0"])
    with pytest.raises(ValueError, match="0 has 6 experts, and 5 ranks"):
        expert_parallelize_modules(nn.Sequential(Experts(6)), MESH, plan_of_experts)
    with pytest.raises(TypeError, match="0 has the parameters weight, bias"):
        expert_parallelize_modules(nn.Sequential(nn.Linear(4, 4)), MESH, plan_of_experts)
    with pytest.raises(ValueError, match="leaves out the experts 1"):
        get_efsdp_modules(nn.Sequential(Experts(6), Experts(6)), plan_of_experts)


def test_types_by_name() -> None:
    assert get_dtype("bf16") is torch.bfloat16 and get_dtype(torch.float16) is torch.float16
    with pytest.raises(ValueError, match="dtype is 'half'; there are fp16"):
        get_dtype("half")


def one_pass(model: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor], int]:
    """Result, gradients, and what is kept between forward and backward."""
    before = torch.npu.memory_allocated()
    y = model(x)
    torch.npu.synchronize()
    kept = torch.npu.memory_allocated() - before
    y.square().sum().backward()
    return y.detach().cpu(), [p.grad.cpu() for p in model.parameters() if p.grad is not None], kept


def test_less_is_kept_and_the_results_are_the_same() -> None:
    x = torch.randn(64, 128, 32, generator=torch.Generator().manual_seed(1)).npu()
    wanted, gradients, kept = one_pass(blocks().npu(), x)
    again = recompute_modules(blocks().npu(), ["{*}"])
    found = one_pass(again, x)
    swapped = one_pass(swap_activation_modules(recompute_modules(blocks().npu(), ["{*}"]), ["{*}"]), x)
    for result in (found, swapped):
        assert torch.equal(result[0], wanted)
        assert all(torch.equal(a, b) for a, b in zip(result[1], gradients, strict=True))
    size = x.numel() * x.element_size()
    assert found[2] < kept - 4 * size, (found[2], kept)
    # The inputs of all blocks but the last two: of the first somebody else has a hold.
    assert swapped[2] <= found[2] - size, (swapped[2], found[2])


@pytest.mark.parametrize("bias", [False, True])
def test_the_loss_of_chunks_is_the_loss(bias: bool) -> None:
    generator = torch.Generator().manual_seed(5)
    hidden = torch.randn(2, 11, 16, generator=generator).npu().requires_grad_()
    weight = torch.randn(40, 16, generator=generator).npu().requires_grad_()
    shift = torch.randn(40, generator=generator).npu().requires_grad_() if bias else None
    labels = torch.randint(0, 40, (2, 11), generator=generator).npu()
    labels[0, :3] = -100
    alpha = (labels != -100).sum()
    leaves = [leaf for leaf in (hidden, weight, shift) if leaf is not None]
    whole, _ = calculate_lm_loss(hidden, weight, shift, shift_labels=labels, alpha=alpha)
    wanted = torch.autograd.grad(3 * whole, leaves)
    options = [{"shift_labels": part, "alpha": alpha} for part in labels.split(4, dim=1)]
    loss = chunk_loss(hidden, weight, shift, calculate_lm_loss, options, 4)
    torch.testing.assert_close(loss, whole, rtol=1e-6, atol=0)
    for a, b in zip(torch.autograd.grad(3 * loss, leaves), wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="11 positions are 3 chunks of 4, and loss_kwargs_chunks has 2"):
        chunk_loss(hidden, weight, shift, calculate_lm_loss, options[:2], 4)
