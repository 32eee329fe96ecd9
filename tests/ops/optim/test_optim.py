"""Optimiser operators against torch.optim, several steps, and against the formulas in float64."""

from __future__ import annotations

import math

import pytest
import torch
from aclnn import OperatorError, call
from compare import assert_close

SHAPES = ((5,), (), (0,), (70, 300), (1025,))
# Steps in float32 next to float32 of PyTorch in another order of operations.
CLOSE = {"rtol": 2e-6, "atol": 2e-7}


def parameters(seed: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(s, generator=g).to(dtype) for s in SHAPES]


def adam_w(p: torch.Tensor, state: dict, g: torch.Tensor, step: int, o: dict) -> None:
    call("aclnnApplyAdamWV2", p, state["m"], state["v"], state["max"] if o["amsgrad"] else None, g,
         torch.tensor(float(step)), o["lr"], *o["betas"], o["weight_decay"], o["eps"], o["amsgrad"], o["maximize"])  # fmt: skip


@pytest.mark.parametrize("implementation", [{"foreach": False}, {"foreach": True}, {"fused": True}])
@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("maximize", [False, True])
def test_adam_w_v2_follows_torch(maximize: bool, amsgrad: bool, implementation: dict) -> None:
    options = {
        "lr": 1e-2,
        "betas": (0.9, 0.999),
        "weight_decay": 0.1,
        "eps": 1e-8,
        "amsgrad": amsgrad,
        "maximize": maximize,
    }
    ours = parameters(0)
    theirs = [torch.nn.Parameter(p.clone()) for p in ours]
    optimizer = torch.optim.AdamW(theirs, **options, **implementation)
    states = [{k: torch.zeros_like(p) for k in ("m", "v", "max")} for p in ours]
    for step in range(6):
        grads = parameters(10 + step)
        for p, g in zip(theirs, grads, strict=True):
            p.grad = g.clone()
        optimizer.step()
        for p, s, g in zip(ours, states, grads, strict=True):
            adam_w(p, s, g, step, options)
    for p, t, s in zip(ours, theirs, states, strict=True):
        torch.testing.assert_close(p, t.data, **CLOSE)
        torch.testing.assert_close(s["m"], optimizer.state[t]["exp_avg"], **CLOSE)
        torch.testing.assert_close(s["v"], optimizer.state[t]["exp_avg_sq"], **CLOSE)


@pytest.mark.parametrize("param", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("state", [torch.float32, torch.bfloat16])
def test_adam_w_v2_dtypes_mix(param: torch.dtype, state: torch.dtype) -> None:
    p, g = torch.randn(3000).to(param), torch.randn(3000).to(param)
    m, v = torch.rand(3000).to(state), torch.rand(3000).to(state)
    m1 = m.double() + 0.1 * (g.double() - m.double())
    v1 = 0.999 * v.double() + 0.001 * g.double() ** 2
    denominator = (v1 / (1 - 0.999**3)).sqrt() + 1e-8
    p1 = p.double() * (1 - 0.01 * 0.1) - 0.01 / (1 - 0.9**3) * m1 / denominator
    call(
        "aclnnApplyAdamWV2",
        p,
        m,
        v,
        None,
        g,
        torch.tensor([2], dtype=torch.int64),
        0.01,
        0.9,
        0.999,
        0.1,
        1e-8,
        False,
        False,
    )
    for actual, expected in ((p, p1), (m, m1), (v, v1)):
        assert_close(actual, expected, 2, atol=3e-7 if actual.dtype != torch.float64 else 1e-9)


def test_adam_w_takes_its_settings_from_tensors() -> None:
    p, g, m, v = (torch.randn(2000).abs() for _ in range(4))
    other = [t.clone() for t in (p, m, v)]
    settings = [torch.tensor([x]) for x in (0.9**2, 0.999**2, 1e-3, 0.01, 0.9, 0.999, 1e-8)]
    call("aclnnApplyAdamW", p, m, v, *settings, g, None, False, True)
    call("aclnnApplyAdamWV2", *other, None, g, torch.tensor(2.0), 1e-3, 0.9, 0.999, 0.01, 1e-8, False, True)
    for a, b in zip((p, m, v), other, strict=True):
        torch.testing.assert_close(
            a, b, rtol=2e-5, atol=1e-7
        )  # float32 betas: 1 - 0.999f is off by 1e-5 of itself


@pytest.mark.parametrize("nesterov", [False, True])
def test_adam(nesterov: bool) -> None:
    p, g, m, v = (torch.randn(2000).abs() for _ in range(4))
    m1 = m.double() + 0.1 * (g.double() - m.double())
    v1 = v.double() + 0.001 * (g.double() ** 2 - v.double())
    rate = 0.01 * math.sqrt(1 - 0.98) / (1 - 0.7)
    direction = 0.9 * m1 + 0.1 * g.double() if nesterov else m1
    expected = p.double() - rate * direction / (v1.sqrt() + 1e-6)
    settings = [torch.tensor([x], dtype=torch.float64) for x in (0.7, 0.98, 0.01, 0.9, 0.999, 1e-6)]
    call("aclnnApplyAdam", p, m, v, *settings, g, False, nesterov)
    for actual, want in ((p, expected), (m, m1), (v, v1)):
        assert_close(actual, want, 2, atol=3e-7)


@pytest.mark.parametrize("options", [
    {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}, {"momentum": 0.9, "dampening": 0.3},
    {"momentum": 0.9, "weight_decay": 0.1, "maximize": True},
])  # fmt: skip
def test_fused_sgd_follows_torch(options: dict) -> None:
    ours = parameters(1)
    theirs = [torch.nn.Parameter(p.clone()) for p in ours]
    optimizer = torch.optim.SGD(theirs, lr=0.1, fused=True, **options)
    buffers = [torch.full_like(p, math.nan) for p in ours]
    for step in range(4):
        grads = parameters(20 + step)
        for p, g in zip(theirs, grads, strict=True):
            p.grad = g.clone()
        optimizer.step()
        call("aclnnFusedSgd", ours, grads, buffers, None, options.get("weight_decay", 0.0), options["momentum"], 0.1,
             options.get("dampening", 0.0), options.get("nesterov", False), options.get("maximize", False), step == 0)  # fmt: skip
    for p, t in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, t.data, **CLOSE)


def test_fused_sgd_divides_gradients_by_the_scale() -> None:
    p, g = torch.randn(100), torch.randn(100)
    expected, plain = p - 0.5 * (g / 4), g / 4
    call("aclnnFusedSgd", [p], [g], [], torch.tensor(4.0), 0.0, 0.0, 0.5, 0.0, False, False, False)
    torch.testing.assert_close(p, expected, **CLOSE)
    assert torch.equal(g, plain)


@pytest.mark.parametrize(("found", "tracker", "scale", "want_scale", "want_tracker"), [
    (0.0, 0, 8.0, 8.0, 1), (0.0, 4, 8.0, 16.0, 0), (1.0, 4, 8.0, 4.0, 0), (0.0, 4, 3e38, 3e38, 0),
])  # fmt: skip
def test_amp_update_scale(
    found: float, tracker: int, scale: float, want_scale: float, want_tracker: int
) -> None:
    s, t = torch.tensor([scale]), torch.tensor([tracker], dtype=torch.int32)
    call("aclnnAmpUpdateScale", s, t, torch.tensor([found]), 2.0, 0.5, 5, s, t)
    assert s.item() == torch.tensor(want_scale).item()
    assert t.item() == want_tracker


def test_transposed_parameters() -> None:
    p, g, m, v = (torch.randn(30, 40).abs() for _ in range(4))
    other = [t.T.contiguous().T for t in (p, m, v)] + [g.clone()]
    for var, mean, square, grad in ((p, m, v, g), (*other[:3], other[3])):
        call(
            "aclnnApplyAdamWV2",
            var,
            mean,
            square,
            None,
            grad,
            torch.tensor(0.0),
            0.1,
            0.9,
            0.99,
            0.1,
            1e-8,
            False,
            False,
        )
    assert torch.equal(p, other[0])


def test_bad_input_is_named() -> None:
    x, y = torch.ones(3), torch.ones(4)
    settings = (torch.tensor(0.0), 0.1, 0.9, 0.99, 0.1, 1e-8)
    with pytest.raises(OperatorError, match=r"aclnnApplyAdamWV2: grad is float32\[4\], var is float32\[3\]"):
        call("aclnnApplyAdamWV2", x, x.clone(), x.clone(), None, y, *settings, False, False)
    with pytest.raises(OperatorError, match="amsgrad needs maxGradNormOptionalRef"):
        call("aclnnApplyAdamWV2", x, x.clone(), x.clone(), None, x.clone(), *settings, True, False)
    with pytest.raises(OperatorError, match="momentum is 0.9 but"):
        call("aclnnFusedSgd", [x], [x.clone()], [], None, 0.0, 0.9, 0.1, 0.0, False, False, False)
