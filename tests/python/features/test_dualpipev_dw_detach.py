# SPDX-License-Identifier: Apache-2.0
"""--dualpipev-dw-detach: where gradients of weights come, that they are the same bits, what is trained, and what is refused."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import memory_cases
import pytest
import torch
import torchrun
from mindspeed.adaptor import arguments, rules
from mindspeed.adaptor.discovery import all_features
from mindspeed.features.pipeline import _vee
from mindspeed.features.pipeline._vee import BACKWARD, FORWARD, WEIGHTS
from mindspeed.ops import later
from torch import Tensor

JOB = Path(__file__).parents[2] / "support" / "vee_job.py"
VEE: dict[str, Any] = {"schedules_method": "dualpipev", "pipeline_model_parallel_size": 2}
DETACH = {"dualpipev_dw_detach": True}
SIZES = {"BATCH": 8}
N, IN, OUT, E = 6, 16, 24, 4


# ---- the orders ----


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("batches", [1, 5, 16])
def test_orders(ranks: int, batches: int) -> None:
    """Each pass once, none before what it needs, and weights of passes in the order of the passes."""
    plan = _vee.plan(ranks, batches, is_apart=True)
    done: set[tuple[str, int, int]] = set()
    places = [0] * ranks
    for _ in range(6 * batches * ranks):
        for rank, order in enumerate(plan.orders):
            if places[rank] == len(order):
                continue
            kind, chunk, batch = step = order[places[rank]]
            stage = plan.place.stage(rank, chunk)
            needs = {
                FORWARD: [(FORWARD, stage - 1)],
                BACKWARD: [(FORWARD, stage), (BACKWARD, stage + 1)],
                WEIGHTS: [(BACKWARD, stage)],
            }[kind]
            if all((*need, batch) in done for need in needs if 0 <= need[1] <= plan.place.last):
                assert (kind, stage, batch) not in done
                done.add((step.kind, stage, batch))
                places[rank] += 1
    assert places == [len(order) for order in plan.orders] == [6 * batches] * ranks
    for order in plan.orders:
        backward, weights = (
            [step[1:] for step in order if step.kind == kind] for kind in (BACKWARD, WEIGHTS)
        )
        assert backward == weights


@pytest.mark.parametrize(("ranks", "batches"), [(2, 8), (4, 8), (4, 16), (8, 16), (8, 32)])
def test_ranks_wait_less_and_hold_no_more(ranks: int, batches: int) -> None:
    """A rank is given its first micro-batch after at most P - 1 passes: nothing waits for less."""
    plan, together = _vee.plan(ranks, batches, is_apart=True), _vee.plan(ranks, batches)
    assert plan.length == 6 * batches + ranks - 1
    assert plan.kept == 2 * ranks + 1 and plan.kept <= together.kept + 1


def test_messages_reach_the_stage_they_are_for() -> None:
    (row,) = torchrun.rows(2, JOB, ["5", "0", "apart"], timeout=200)
    assert row["out"] == row["back"] == [4.0] * 5


# ---- gradients ----


def of_linear(fused: bool, bias: bool) -> tuple[Callable[[Tensor, Tensor], Tensor], tuple[int, ...]]:
    from megatron.core.tensor_parallel.layers import (
        linear_with_grad_accumulation_and_async_allreduce as linear,
    )

    added = torch.randn(OUT).npu() if bias else None
    return lambda x, weight: linear(x, weight, added, fused, False, False), (OUT, IN)


def of_experts(fused: bool, bias: bool) -> tuple[Callable[[Tensor, Tensor], Tensor], tuple[int, ...]]:
    from mindspeed.ops.gmm import npu_gmm_v2

    sizes = torch.tensor([2, 0, 3, 1]).npu()
    return lambda x, weight: npu_gmm_v2(
        x,
        weight.view(E, IN, OUT),
        group_list=sizes,
        gemm_fusion=fused,
        original_weight=weight if fused else None,
    ), (IN, E * OUT)


def of_engine(fused: bool, bias: bool) -> tuple[Callable[[Tensor, Tensor], Tensor], tuple[int, ...]]:
    from mindspeed.ops.parallel_linear import Plan, linear

    plan = Plan(fuse_wgrad=fused)
    return lambda x, weight: linear(x, weight, None, plan, x.dtype), (OUT, IN)


def gradients(
    make: Callable[[bool, bool], Any], fused: bool, bias: bool, dtype: torch.dtype, detach: bool
) -> tuple[list[Tensor], Tensor | None]:
    """Of input and weight, or what is in its accumulator; and the weight's while it was put off."""
    torch.manual_seed(3)
    product, shape = make(fused, bias)
    weight = torch.nn.Parameter(torch.randn(shape).to(dtype).npu())
    weight.main_grad, weight.grad_added_to_main_grad = torch.ones(shape).npu(), False
    x = torch.randn(N, IN).to(dtype).npu().requires_grad_()
    out = product(x, weight)
    grad = torch.randn(N, OUT).to(dtype).npu()
    meanwhile = None
    if detach:
        with later.putting_off() as work:
            out.backward(grad)
        assert not fused or torch.equal(weight.main_grad, torch.ones_like(weight.main_grad))
        meanwhile = weight.grad
        work.do()
    else:
        out.backward(grad)
    found = weight.main_grad if fused else weight.grad
    assert x.grad is not None and found is not None
    return [x.grad, found.detach()], meanwhile


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=("fp32", "bf16"))
@pytest.mark.parametrize("fused", [False, True], ids=("apart", "fused"))
@pytest.mark.parametrize("make", [of_linear, of_experts, of_engine])
def test_gradients_are_the_same_bits(switch: Any, make: Any, fused: bool, dtype: torch.dtype) -> None:
    switch(optimization_level=2, num_layers=4, **VEE, **DETACH)
    now, _ = gradients(make, fused, False, dtype, detach=False)
    after, meanwhile = gradients(make, fused, False, dtype, detach=True)
    assert meanwhile is None
    assert all(torch.equal(a, b) for a, b in zip(now, after, strict=True))
    switch(schedules_method=None, pipeline_model_parallel_size=1)


def test_hooks_run_when_the_gradient_is_there(switch: Any) -> None:
    """As Megatron's DistributedDataParallel has them, on what accumulates the gradient."""
    switch(optimization_level=2, num_layers=4, **VEE, **DETACH)
    product, shape = of_linear(False, True)
    weight = torch.nn.Parameter(torch.randn(shape).npu())
    seen: list[bool] = []
    accumulator = weight.expand_as(weight).grad_fn.next_functions[0][0]
    accumulator.register_hook(lambda *_: seen.append(weight.grad is not None))
    with later.putting_off() as work:
        product(torch.randn(2, 3, IN).npu().requires_grad_(), weight).sum().backward()
    assert True not in seen
    work.do()
    assert seen[-1] and seen.count(True) == 1
    switch(schedules_method=None, pipeline_model_parallel_size=1)


def test_what_is_in_front_of_a_weight_does_not_run_twice() -> None:
    """The weight of the product is no parameter: its gradient is computed at once."""
    parameter = torch.nn.Parameter(torch.randn(OUT, IN).npu())
    product, _ = of_engine(False, False)
    with later.putting_off() as work:
        product(torch.randn(N, IN).npu(), parameter.exp()).sum().backward()
    assert parameter.grad is not None
    before = parameter.grad.clone()
    work.do()
    assert torch.equal(parameter.grad, before)


# ---- training ----


def training(ranks: int, cases: dict[str, dict[str, Any]], layers: int = 4) -> None:
    """With and without, the same bits."""
    vee = VEE | {"pipeline_model_parallel_size": ranks}
    made = {}
    for name, given in cases.items():
        flags = given.get("flags", {})
        layout = {"pp": ranks, "vp": 2, "world": ranks, "overlap_p2p": True, "layers": layers} | given[
            "layout"
        ]
        made[name] = memory_cases.case(vee | flags, SIZES, **layout)
        made[f"{name} apart"] = memory_cases.case(vee | flags | DETACH, SIZES, **layout)
    results = memory_cases.run(made)
    for name in cases:
        assert results[f"{name} apart"]["losses"] == results[name]["losses"], name
        assert results[f"{name} apart"]["norms"] == results[name]["norms"], name
        assert results[f"{name} apart"]["weights"] == results[name]["weights"], name


@pytest.mark.slow
def test_training_is_the_same() -> None:
    experts = {"model": "moe", "grouped": True, "dispatcher": "alltoall"}
    adding = {"gemm_gradient_accumulation_fusion": True, "moe_grouped_gemm": True, "num_experts": 8}
    training(
        2,
        {
            "dense": {"layout": {"model": "dense", "untied": True, "dtype": "bf16"}},
            "added": {
                "layout": {"model": "gated", "adds": True, "optimizer": "distributed", "dtype": "fp32"}
            },
            "experts": {"layout": experts | {"dtype": "bf16"}, "flags": adding},
            "again": {"layout": {"model": "gated", "recompute": "full", "dtype": "fp32"}},
        },
    )


@pytest.mark.slow
def test_training_of_four_ranks_is_the_same() -> None:
    """Eight stages; four with two slices each, which gather the sequence when the weight's gradient comes."""
    training(4, {"deep": {"layout": {"model": "moe", "dtype": "fp32"}}}, layers=8)
    slices = {"tp": 2, "sp": True, "world": 4, "dtype": "bf16", "model": "gated", "adds": True}
    training(2, {"slices": {"layout": slices}})


# ---- rules ----


def problems(**given: Any) -> list[str]:
    args = Namespace(**VEE | DETACH | {"num_layers": 8, "untie_embeddings_and_output_weights": True} | given)
    names = (
        "dualpipev-dw-detach", "schedules-method", "moe-alltoall-overlap-comm", "qat-scheme", "balanced-moe-experts",
    )  # fmt: skip
    features = tuple(f for f in all_features() if f.name in names)
    arguments.complete(args, features)
    return list(rules.problems(features, args, 2))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"schedules_method": None}, "feature dualpipev-dw-detach (--dualpipev-dw-detach) needs"),
        ({"moe_alltoall_overlap_comm": True}, "it computes gradients of weights in its own order"),
        ({"balanced_moe_experts": True}, "gradients of hot experts travel in the backward pass"),
        ({"qat_scheme": "w4a16-mxfp4"}, "gradients pass quantised weights in the backward pass"),
    ],
)
def test_rules(given: dict[str, Any], wanted: str) -> None:
    assert problems() == []
    assert any(wanted in problem for problem in problems(**given))
