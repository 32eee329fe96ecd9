# SPDX-License-Identifier: Apache-2.0
"""Layers of the stand-in under fp8_autocast: products of what the recipe makes of their operands, in float64."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mindspeed.standins.refusal import RefusedError
from narrow import E4M3, E5M2, mx_quantise, mx_values

DEVICE = "npu"
JOB = Path(__file__).parents[2] / "support" / "fp8_job.py"
LARGEST = {torch.float8_e4m3fn: 448.0, torch.float8_e5m2: 57344.0}
NUMBER = {torch.float8_e4m3fn: E4M3, torch.float8_e5m2: E5M2}


@pytest.fixture
def te(standins):
    import transformer_engine.pytorch

    torch.manual_seed(3)
    return transformer_engine.pytorch


def by_tensor(t: torch.Tensor, dtype: torch.dtype, scale: float | None = None) -> torch.Tensor:
    """float64 of what one scale makes of a tensor."""
    by = t.float().abs().amax() / LARGEST[dtype] if scale is None else torch.tensor(scale)
    return (t.float() / by).clamp(-LARGEST[dtype], LARGEST[dtype]).to(dtype).double() * by.double()


def by_blocks(t: torch.Tensor, dtype: torch.dtype, rows: int) -> torch.Tensor:
    result = torch.empty(t.shape, dtype=torch.float64)
    for r in range(0, t.shape[0], rows):
        for c in range(0, t.shape[1], 128):
            result[r : r + rows, c : c + 128] = by_tensor(t[r : r + rows, c : c + 128], dtype)
    return result


def by_mx(t: torch.Tensor, dtype: torch.dtype, axis: int) -> torch.Tensor:
    return mx_values(*mx_quantise(t, NUMBER[dtype], axis), NUMBER[dtype], axis)


def by_squares(t: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A square as one block of all its numbers."""
    result = torch.empty(t.shape, dtype=torch.float64)
    for r in range(0, t.shape[0], 32):
        for c in range(0, t.shape[1], 32):
            part = t[r : r + 32, c : c + 32]
            flat = part.reshape(1, -1)
            whole = mx_values(*mx_quantise(flat, NUMBER[dtype], -1, 1024), NUMBER[dtype], -1, 1024)
            result[r : r + 32, c : c + 32] = whole.view(part.shape)
    return result


def factors(name, x, w, g, back):
    """Of the three products: output, gradient of the input, gradient of the weight."""
    forward = torch.float8_e4m3fn
    if name == "MXFP8BlockScaling":
        return (
            by_mx(x, forward, -1) @ by_mx(w, forward, -1).t(),
            by_mx(g, back, -1) @ by_mx(w, forward, 0),
            by_mx(g, back, 0).t() @ by_mx(x, forward, 0),
        )
    if name == "MXFP832x32BlockScaling":
        square = by_squares(w, forward)
        return (
            by_mx(x, forward, -1) @ square.t(),
            by_mx(g, back, -1) @ square,
            by_mx(g, back, 0).t() @ by_mx(x, forward, 0),
        )
    if name == "Float8BlockScaling":
        square = by_blocks(w, forward, 128)
        return (
            by_blocks(x, forward, 1) @ square.t(),
            by_blocks(g, back, 1) @ square,
            by_blocks(g.t(), back, 1) @ by_blocks(x, forward, 128),
        )
    x, w, g = by_tensor(x, forward), by_tensor(w, forward), by_tensor(g, back)
    return x @ w.t(), g @ w, g.t() @ x


def close(got, want):
    """Rounded to bfloat16 once; sums of float32 before."""
    torch.testing.assert_close(
        got.detach().cpu().double(), want, rtol=2**-8, atol=2**-8 * float(want.abs().mean())
    )


@pytest.mark.parametrize("form", ["E4M3", "HYBRID"])
@pytest.mark.parametrize(
    "name",
    [
        "DelayedScaling",
        "Float8CurrentScaling",
        "MXFP8BlockScaling",
        "MXFP832x32BlockScaling",
        "Float8BlockScaling",
    ],
)
def test_products_of_a_layer(te, name, form):
    from transformer_engine.common import recipe

    layer = te.Linear(160, 96, params_dtype=torch.bfloat16, device=DEVICE)
    x = torch.randn(70, 2, 160, device=DEVICE, dtype=torch.bfloat16, requires_grad=True)
    g = torch.randn(70, 2, 96, device=DEVICE, dtype=torch.bfloat16)
    made = getattr(recipe, name)(fp8_format=getattr(recipe.Format, form))
    with te.fp8_autocast(fp8_recipe=made):
        y = layer(x)
    y.backward(g)
    flat = [t.detach().cpu().flatten(0, -2) for t in (x, layer.weight, g)]
    back = torch.float8_e4m3fn if form == "E4M3" else torch.float8_e5m2
    wanted = factors(name, *flat, back)
    bias = layer.bias.detach().cpu().double()
    close(y.flatten(0, 1), wanted[0] + bias)
    close(x.grad.flatten(0, 1), wanted[1])
    close(layer.weight.grad, wanted[2])


def test_hifloat8(te):
    """A bit of mantissa less than e4m3 far from 1, as many near it: the whole within 6 %."""
    from transformer_engine.common import recipe

    layer = te.LayerNormLinear(64, 48, params_dtype=torch.bfloat16, device=DEVICE)
    x = torch.randn(40, 64, device=DEVICE, dtype=torch.bfloat16)
    want = layer(x)
    with te.fp8_autocast(fp8_recipe=recipe.Float8CurrentScaling(fp8_format=recipe.Format.HIF8)):
        got = layer(x)
    assert 0 < (got - want).float().norm() / want.float().norm() < 0.06


@pytest.mark.parametrize("newest", [True, False])
def test_delayed_scales(te, newest):
    """The scale is that of the steps before: the newest one's, or of the largest of them."""
    from transformer_engine.common import recipe

    made = recipe.DelayedScaling(
        amax_history_len=2, amax_compute_algo="most_recent" if newest else "max", margin=1
    )
    layer = te.Linear(16, 16, bias=False, params_dtype=torch.float32, device=DEVICE)
    sizes, used = (
        (1.0, 8.0, 4.0, 2.0, 2.0),
        (1.0, 1.0, 8.0, 4.0, 2.0) if newest else (1.0, 1.0, 8.0, 8.0, 4.0),
    )
    w = by_tensor(
        layer.weight.detach().cpu(), torch.float8_e4m3fn, float(layer.weight.detach().abs().max()) * 2 / 448
    )
    for size, largest in zip(sizes, used, strict=True):
        x = torch.linspace(-1, 1, 160).view(10, 16) * size
        with torch.no_grad(), te.fp8_autocast(fp8_recipe=made):
            y = layer(x.to(DEVICE))
        want = by_tensor(x, torch.float8_e4m3fn, largest * 2 / 448) @ w.t()
        torch.testing.assert_close(y.cpu().double(), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["Float8CurrentScaling", "MXFP8BlockScaling"])
def test_fused_and_delayed_weight_gradients(te, name):
    """Into main_grad, and later; the same numbers."""
    from transformer_engine.common import recipe

    made = getattr(recipe, name)()
    x, g = (torch.randn(64, 32, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))
    plain = te.Linear(32, 32, bias=False, params_dtype=torch.bfloat16, device=DEVICE)
    fused = te.Linear(
        32, 32, bias=False, params_dtype=torch.bfloat16, device=DEVICE, fuse_wgrad_accumulation=True,
        delay_wgrad_compute=True,
    )  # fmt: skip
    with torch.no_grad():
        fused.weight.copy_(plain.weight)
    fused.weight.main_grad = torch.ones(32, 32, device=DEVICE)
    for layer in (plain, fused):
        with te.fp8_autocast(fp8_recipe=made):
            layer(x).backward(g)
    assert fused.weight.main_grad.eq(1).all()
    fused.backward_dw()
    assert fused.weight.grad is None
    close(fused.weight.main_grad - 1, plain.weight.grad.cpu().double())


def test_exact_weight_gradients(te):
    """override_linear_precision leaves one of the three products in bf16."""
    from transformer_engine.common import recipe

    layer = te.Linear(32, 48, bias=False, params_dtype=torch.bfloat16, device=DEVICE)
    x, g = torch.randn(64, 32, device=DEVICE).bfloat16(), torch.randn(64, 48, device=DEVICE).bfloat16()
    with te.fp8_autocast(fp8_recipe=recipe.DelayedScaling(override_linear_precision=(False, False, True))):
        layer(x).backward(g)
    assert torch.equal(layer.weight.grad, g.t() @ x)


def test_groups(te):
    """Each expert is a product of its own; one without rows has a gradient of zeros."""
    from transformer_engine.common import recipe

    layer = te.GroupedLinear(3, 64, 32, bias=False, params_dtype=torch.bfloat16, device=DEVICE)
    x = torch.randn(50, 64, device=DEVICE, dtype=torch.bfloat16)
    with te.fp8_autocast(fp8_recipe=recipe.Float8CurrentScaling()):
        y = layer(x, [20, 0, 30])
    y.backward(torch.ones_like(y))
    for part, got, weight in ((x[:20], y[:20], layer.weight0), (x[20:], y[20:], layer.weight2)):
        operands = (by_tensor(t.detach().cpu(), torch.float8_e4m3fn) for t in (part, weight))
        left, right = operands
        close(got, left @ right.t())
    assert layer.weight1.grad.eq(0).all() and not layer.weight2.grad.eq(0).all()


def test_what_is_refused(te):
    from transformer_engine.common import recipe

    for made, told in (
        (recipe.NVFP4BlockScaling(), "fp4"),
        (recipe.Float8CurrentScaling(fp8_dpa=True), "attention in fp8"),
        (recipe.MXFP8BlockScaling(fp8_format=recipe.Format.HIF8), "one scale for a tensor"),
        (recipe.Float8CurrentScaling(fp8_format=recipe.Format.E5M2), "Format.HYBRID"),
    ):
        with pytest.raises(RefusedError, match=told), te.fp8_autocast(fp8_recipe=made):
            pass
    with pytest.raises(RefusedError, match="calibrating"), te.fp8_autocast(calibrating=True):
        pass


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "recipes", "step", "last"),
    [
        (
            "dense",
            "e4m3/delayed hybrid/tensorwise hybrid/mxfp8 hybrid/mxfp8-32x32 hybrid/blockwise hif8/tensorwise",
            0.01,
            0.002,
        ),
        ("experts", "hybrid/delayed e4m3/mxfp8", 0.03, 0.01),
    ],
)
def test_training_loses_as_in_bf16(model, recipes, step, last):
    """30 steps of a small GPT: every step, and the mean of the last ten. Experts part where a token's choice flips."""
    done = subprocess.run(
        [sys.executable, str(JOB), model, *recipes.split()],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    losses = json.loads(done.stdout.splitlines()[-1])
    reference = losses.pop("bf16")
    assert reference[-1] < 0.7 * reference[0]
    for name, found in losses.items():
        assert found != reference
        assert max(abs(a / b - 1) for a, b in zip(found, reference, strict=True)) < step, name
        assert abs(sum(found[-10:]) / sum(reference[-10:]) - 1) < last, name


def test_a_torch_npu_without_hifloat8() -> None:
    """As those up to 2.9: what multiplies can be imported, and the format says what it lacks."""
    code = (
        "import torch, torch_npu; del torch_npu.hifloat8\n"
        "from mindspeed.ops import fp8_products\n"
        "assert fp8_products.types_of('hybrid').backward is fp8_products.E5M2\n"
        "fp8_products.types_of('hif8')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.returncode != 0 and "has no hifloat8; take a later one" in done.stderr
