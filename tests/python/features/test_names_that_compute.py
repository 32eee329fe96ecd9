# SPDX-License-Identifier: Apache-2.0
"""Names of the original that compute something on one rank: what they give, and what they refuse."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import pytest
import torch
from mindspeed.adaptor import ConfigurationError, session
from mindspeed.core.context_parallel import utils
from mindspeed.core.optimizer.fused_ema_adamw.fused_ema_adamw import FusedEmaAdamW, fused_ema_adamw
from mindspeed.features_manager import ReuseFP32Param
from mindspeed.functional.tflops_calculate.tflops_utils import get_flops_counter
from mindspeed.patch_utils import MindSpeedPatchesManager

DEVICE = "npu"
S, B, HEADS, SIZE, KEYS = 6, 2, 3, 4, 5


def attended(scores: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """As fused attention gives it: [s, b, h * d], and maxima and sums [b, h, s, 8]."""
    most = scores.amax(-1, keepdim=True)
    weights = (scores - most).exp()
    total = weights.sum(-1, keepdim=True)
    out = (weights / total @ values).permute(2, 0, 1, 3).flatten(2)
    return out, most.expand(-1, -1, -1, 8), total.expand(-1, -1, -1, 8)


@pytest.mark.parametrize("fused", [False, True], ids=["written out", "operator"])
def test_attention_to_two_sets_of_keys(monkeypatch: pytest.MonkeyPatch, fused: bool) -> None:
    monkeypatch.setattr(utils, "get_full_args", lambda: Namespace(use_fused_ring_attention_update=fused))
    torch.manual_seed(3)
    scores, values = torch.randn(B, HEADS, S, 2 * KEYS), torch.randn(B, HEADS, 2 * KEYS, SIZE)
    halves = [attended(*pair) for pair in zip(scores.chunk(2, -1), values.chunk(2, -2), strict=True)]
    given = [t.to(DEVICE).contiguous() for half in halves for t in half]
    for found, want in zip(utils.forward_update(*given), attended(scores, values), strict=True):
        torch.testing.assert_close(found.cpu(), want, rtol=1e-5, atol=1e-5)


def test_layouts_there_and_back() -> None:
    x = torch.arange(S * B * HEADS * SIZE).view(S, B, HEADS * SIZE)
    packed = utils.sbh_to_tnd(x, HEADS)
    assert packed.shape == (B * S, HEADS, SIZE) and torch.equal(packed[S].flatten(), x[0, 1])
    assert torch.equal(utils.tnd_to_sbh(packed, B), x)


def test_an_average_whose_first_steps_count_for_more() -> None:
    torch.manual_seed(5)
    parameter = torch.nn.Parameter(torch.randn(7, device=DEVICE))
    twin = torch.nn.Parameter(parameter.detach().cpu().clone())
    optimizer = FusedEmaAdamW([parameter], lr=0.1, ema_decay=0.9, weight_decay=0.01)
    reference = torch.optim.AdamW([twin], lr=0.1, weight_decay=0.01)
    average = twin.detach().clone()
    for step in range(1, 4):
        gradient = torch.randn(7)
        parameter.grad, twin.grad = gradient.to(DEVICE), gradient
        optimizer.step()
        reference.step()
        average.lerp_(twin.detach(), 1 - min(0.9, (1 + step) / (10 + step)))
    torch.testing.assert_close(parameter.detach().cpu(), twin.detach(), rtol=1e-5, atol=1e-6)
    optimizer.zero_grad()
    assert parameter.grad is None
    optimizer.store(optimizer.param_groups)
    optimizer.copy_to()
    torch.testing.assert_close(parameter.detach().cpu(), average, rtol=1e-5, atol=1e-6)
    optimizer.restore(optimizer.param_groups)
    torch.testing.assert_close(parameter.detach().cpu(), twin.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        ({"lr": -1.0}, ValueError, "lr is -1.0"),
        ({"eps": -1.0}, ValueError, "eps is -1.0"),
        ({"weight_decay": -1.0}, ValueError, "weight_decay is -1.0"),
        ({"betas": (0.9, 1.0)}, ValueError, r"betas\[1\] is 1.0"),
        ({"amsgrad": True}, RuntimeError, "amsgrad"),
        ({"maximize": True}, RuntimeError, "maximize"),
    ],
)
def test_an_average_of_wrong_numbers(given: dict[str, Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        FusedEmaAdamW([torch.nn.Parameter(torch.ones(2))], **given)


def test_steps_of_several_tensors() -> None:
    def tensors(value: float) -> list[torch.Tensor]:
        return [torch.full((size,), value, device=DEVICE) for size in (3, 4)]

    parameters, averages = tensors(1.0), tensors(1.0)
    step = torch.tensor([1], device=DEVICE)
    fused_ema_adamw(
        tensors(0.5),
        parameters,
        tensors(0.0),
        tensors(0.0),
        averages,
        step,
        0.1,
        0.5,
        0.9,
        0.999,
        1e-8,
        1,
        True,
        0.0,
    )
    for parameter, average in zip(parameters, averages, strict=True):
        torch.testing.assert_close(parameter.cpu(), torch.full(parameter.shape, 0.9), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(average.cpu(), torch.full(parameter.shape, 0.95), rtol=1e-5, atol=1e-6)


def test_operations_between_start_and_stop() -> None:
    counter, a, b = get_flops_counter(), torch.ones(3, 4, device=DEVICE), torch.ones(4, 5, device=DEVICE)
    assert counter is get_flops_counter()
    counter.start()
    torch.mm(a, b)
    assert counter.get_flops() == [2 * 3 * 4 * 5, 0]
    counter.stop()
    torch.mm(a, b)
    with pytest.raises(RuntimeError, match="call start"):
        counter.get_flops()


def test_a_feature_as_an_object(switch: Any) -> None:
    switch(optimization_level=2, bf16=False)
    feature, asked = ReuseFP32Param(), Namespace(reuse_fp32_param=True, bf16=False, optimization_level=2)
    with pytest.raises(ConfigurationError, match="needs --bf16"):
        feature.validate_args(asked)
    asked.bf16 = True
    feature.validate_args(asked)
    feature.register_patches(MindSpeedPatchesManager, Namespace(reuse_fp32_param=False))
    assert not session.is_on("reuse-fp32-param")
    feature.register_patches(MindSpeedPatchesManager, asked)
    assert session.is_on("reuse-fp32-param")
    session.repatch({"reuse_fp32_param": False})


@pytest.mark.parametrize("kind", [None, "fp8"])
def test_averages_of_few_bits_as_the_arguments_say(monkeypatch: pytest.MonkeyPatch, kind: str | None) -> None:
    from mindspeed.core.optimizer.low_precision import quant_adamw
    from mindspeed.features.optimizer._sliced_adam import Kept

    monkeypatch.setattr(quant_adamw, "get_full_args", lambda: Namespace(quant_states=kind))
    torch.manual_seed(5)
    start, gradient = torch.randn(300), torch.randn(300)
    parameter, twin = torch.nn.Parameter(start.to(DEVICE)), torch.nn.Parameter(start.clone())
    optimizer, reference = quant_adamw.AdamW([parameter], lr=0.1), torch.optim.AdamW([twin], lr=0.1)
    parameter.grad, twin.grad = gradient.to(DEVICE), gradient
    for step in range(2):
        optimizer.step()
        reference.step()
        wanted = {"rtol": 1e-5, "atol": 1e-6} if kind is None or step == 0 else {"rtol": 0.1, "atol": 0.02}
        torch.testing.assert_close(parameter.detach().cpu(), twin.detach(), **wanted)
    assert isinstance(optimizer.state[parameter]["exp_avg"], Kept) == bool(kind)
    with pytest.raises(ValueError, match="amsgrad"):
        quant_adamw.AdamW([parameter], amsgrad=True)
