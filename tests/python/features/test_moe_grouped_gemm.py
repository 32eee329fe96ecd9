# SPDX-License-Identifier: Apache-2.0
"""--gemm-gradient-accumulation-fusion: experts' gradients go into float32 accumulators without a stop."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import pytest
import torch
from mindspeed.adaptor import Level, rules
from mindspeed.features.fusion import moe_grouped_gemm
from torch import Tensor

E, IN, OUT = 4, 16, 24
ON = {"optimization_level": 2, "moe_grouped_gemm": True, "gemm_gradient_accumulation_fusion": True}
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=("fp32", "bf16"))


@pytest.fixture(autouse=True)
def off_again(switch: Any) -> Any:
    yield
    switch(gemm_gradient_accumulation_fusion=False)


def weight_of(dtype: torch.dtype, marked: bool = True) -> torch.nn.Parameter:
    """As Megatron's GroupedMLP has it, with an accumulator that has something already."""
    weight = torch.nn.Parameter(torch.randn(IN, E * OUT).to(dtype).npu())
    weight.main_grad = torch.ones(IN, E * OUT, device="npu")
    if marked:
        weight.grad_added_to_main_grad = False
    return weight


def product(x: Tensor, weight: Tensor, splits: list[int]) -> Tensor:
    from megatron.core.transformer.moe import grouped_gemm_util

    return grouped_gemm_util.ops.gmm(x, weight.view(E, IN, OUT), torch.tensor(splits), trans_b=False)


@DTYPES
@pytest.mark.parametrize("splits", [[5, 1, 20, 7], [0, 20, 0, 9], [0, 0, 31, 0]], ids=str)
def test_gradients_are_added_unrounded(switch: Any, dtype: torch.dtype, splits: list[int]) -> None:
    switch(**ON)
    weight = weight_of(dtype)
    x = torch.randn(sum(splits), IN).to(dtype).npu().requires_grad_()
    grad = torch.randn(sum(splits), OUT).to(dtype).npu()
    for _ in range(2):
        product(x, weight, splits).backward(grad)
    parts = zip(x.detach().cpu().double().split(splits), grad.cpu().double().split(splits), strict=True)
    want = 1 + 2 * torch.stack([a.t() @ b for a, b in parts]).view(IN, E * OUT)
    torch.testing.assert_close(weight.main_grad.cpu().double(), want, rtol=1e-6, atol=1e-5)
    assert weight.grad_added_to_main_grad and weight.grad is not None
    assert torch.equal(x.grad.cpu(), 2 * gradient_of_rows(weight, grad, splits))


def gradient_of_rows(weight: Tensor, grad: Tensor, splits: list[int]) -> Tensor:
    matrices = weight.detach().view(E, IN, OUT)
    return torch.cat([g @ m.t() for g, m in zip(grad.split(splits), matrices, strict=True)]).cpu()


def test_without_the_mark_there_is_no_gradient_beside(switch: Any) -> None:
    switch(**ON)
    weight = weight_of(torch.float32, marked=False)
    product(torch.randn(4, IN).npu(), weight, [1, 1, 1, 1]).sum().backward()
    assert weight.grad is None and not torch.equal(weight.main_grad, torch.ones_like(weight.main_grad))


@pytest.mark.parametrize("spoil", ["none", "bf16", "off"])
def test_what_takes_the_plain_way(switch: Any, spoil: str) -> None:
    """No accumulator, one of another type, or the flag not given: the gradient is a gradient."""
    switch(**(ON if spoil != "off" else {}))
    weight = weight_of(torch.float32)
    if spoil == "none":
        del weight.main_grad
    elif spoil == "bf16":
        weight.main_grad = weight.main_grad.bfloat16()
    product(torch.randn(4, IN).npu(), weight, [1, 1, 1, 1]).sum().backward()
    assert weight.grad is not None and weight.grad.any() and not weight.grad_added_to_main_grad


@DTYPES
def test_losses(switch: Any, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    import megatron_gpt

    fused: list[bool] = []
    real = moe_grouped_gemm.npu_gmm_v2
    monkeypatch.setattr(
        moe_grouped_gemm, "npu_gmm_v2", lambda *a, **k: fused.append(k["gemm_fusion"]) or real(*a, **k)
    )

    size = megatron_gpt.Size(experts=8, dtype=dtype)
    switch()
    theirs = megatron_gpt.losses(size)
    assert not fused
    switch(**ON)
    ours = megatron_gpt.losses(size)
    assert ours == pytest.approx(theirs, rel=1e-5 if dtype is torch.float32 else 2e-3)
    assert len(fused) == 5 * 2 * size.layers and all(fused)


def test_rules() -> None:
    args = Namespace(gemm_gradient_accumulation_fusion=True, moe_grouped_gemm=False)
    (problem,) = rules.problems([moe_grouped_gemm.FEATURE], args, Level.ACCELERATION)
    assert "--moe-grouped-gemm" in problem
