"""LayerNorm, RmsNorm, their additions and gradients: statistics in float32, against float64."""

from __future__ import annotations

import pytest
import torch
from aclnn import BoolArray, IntArray, OperatorError, call
from compare import FLOATS, assert_close, layouts, make

# Shape and how many of its last dimensions are normalised.
CASES = [((1,), 1), ((3, 7), 1), ((4, 3, 64), 1), ((5, 3, 7), 2), ((2, 1030), 1), ((70, 33), 1), ((0, 5), 1)]
# Units in the last place of an output of size 1: a few roundings in float32, one in 16 bits.
ATOL = {torch.float32: 2e-6, torch.bfloat16: 2e-2, torch.float16: 2e-3, torch.float64: 1e-12}
EPS = 1e-5


def wide(*tensors: torch.Tensor) -> list[torch.Tensor]:
    return [t.double().requires_grad_() for t in tensors]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", ["aclnnLayerNorm", "aclnnFastLayerNorm"])
def test_layer_norm(op: str, dtype: torch.dtype) -> None:
    stats = torch.float64 if dtype == torch.float64 else torch.float32
    for shape, k in CASES:
        last = shape[-k:]
        rows = shape[:-k] + (1,) * k
        w, b = make(last, dtype, 1), make(last, dtype, 2)
        for _, x in layouts(make(shape, dtype)):
            for weight, bias in ((w, b), (w, None), (None, b), (None, None)):
                out, mean, rstd = (
                    torch.empty(shape, dtype=dtype),
                    torch.empty(rows, dtype=stats),
                    torch.empty(rows, dtype=stats),
                )
                call(op, x, IntArray(last), weight, bias, EPS, out, mean, rstd)
                args = [None if t is None else t.double() for t in (weight, bias)]
                y, m, r = torch.native_layer_norm(x.double(), last, *args, EPS)
                assert_close(out, y, 2, ATOL[dtype] * 0.5)
                assert_close(mean, m.view(rows), 1, 1e-6)
                assert_close(rstd, r.view(rows), 2, 0 if stats == torch.float32 else 1e-10)


@pytest.mark.parametrize("dtype", FLOATS)
def test_layer_norm_backward(dtype: torch.dtype) -> None:
    for shape, k in CASES:
        last = shape[-k:]
        rows = shape[:-k] + (1,) * k
        w = make(last, dtype, 1)
        for _, x in layouts(make(shape, dtype)):
            g = make(shape, dtype, 3)
            dx, dw, db = torch.empty(shape, dtype=dtype), torch.empty(last), torch.empty(last)
            x64, w64 = wide(x, w)
            _, mean, rstd = torch.native_layer_norm(x64, last, None, None, EPS)
            want = torch.autograd.grad(torch.layer_norm(x64, last, w64, w64, EPS), (x64, w64), g.double())
            want_db = g.double().reshape(-1, *last).sum(0)
            stats = [
                t.detach().reshape(rows).to(torch.float64 if dtype == torch.float64 else torch.float32)
                for t in (mean, rstd)
            ]
            call(
                "aclnnLayerNormBackward",
                g,
                x,
                IntArray(last),
                *stats,
                w,
                w,
                BoolArray([True] * 3),
                dx,
                dw,
                db,
            )
            scale = max(1.0, rstd.max().item() if rstd.numel() else 1)
            assert_close(dx, want[0], 4, ATOL[dtype] * 4 * scale)
            assert_close(db, want_db, 4, 1e-4)
            assert_close(dw, want[1] - want_db, 8, 1e-4 * scale)
            only = torch.empty(last)
            call(
                "aclnnLayerNormBackward",
                g,
                x,
                IntArray(last),
                *stats,
                None,
                None,
                BoolArray([False, True, False]),
                None,
                only,
                None,
            )
            assert torch.equal(only, dw) or dtype == torch.float64


def rms(x: torch.Tensor, w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    dims = tuple(range(-w.dim(), 0))
    rstd = (x.pow(2).mean(dims, keepdim=True) + EPS).rsqrt()
    return x * rstd * w, rstd


@pytest.mark.parametrize("dtype", FLOATS)
def test_rms_norm(dtype: torch.dtype) -> None:
    for shape, k in CASES:
        last, rows = shape[-k:], shape[:-k] + (1,) * k
        w = make(last, dtype, 1)
        for _, x in layouts(make(shape, dtype)):
            out, rstd = torch.empty(shape, dtype=dtype), torch.empty(rows)
            call("aclnnRmsNorm", x, w, EPS, out, rstd)
            y, r = rms(x.double(), w.double())
            assert_close(out, y, 8 if dtype == torch.float64 else 3)
            assert_close(rstd, r, 2)
            call("aclnnGemmaRmsNorm", x, w, EPS, out, rstd)
            assert_close(out, y / w.double() * (1 + w.double()), 8 if dtype == torch.float64 else 3, 1e-6)
            assert_close(rstd, r, 2)


@pytest.mark.parametrize("dtype", FLOATS)
def test_add_rms_norm(dtype: torch.dtype) -> None:
    a, b, w = make((6, 5, 33), dtype), make((6, 5, 33), dtype, 1), make((33,), dtype, 2)
    y, total, rstd = torch.empty_like(a), torch.empty_like(a), torch.empty(6, 5, 1)
    call("aclnnAddRmsNorm", a, b, w, EPS, y, rstd, total)
    assert torch.equal(total, a + b)
    want, r = rms(total.double(), w.double())
    assert_close(y, want, 8 if dtype == torch.float64 else 3)
    assert_close(rstd, r, 2)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    y1, y2, again = torch.empty(6, 5, 33, dtype=wide), torch.empty_like(a), torch.empty(6, 5, 1)
    call("aclnnAddRmsNormCast", a, b, w, EPS, y1, y2, again, torch.empty_like(a))
    assert_close(y1, want, 8 if dtype == torch.float64 else 3)
    assert torch.equal(y2, y) and torch.equal(again, rstd)
    if wide != dtype:
        with pytest.raises(OperatorError, match="aclnnAddRmsNormCast: y1Out is"):
            call("aclnnAddRmsNormCast", a, b, w, EPS, y2, y2, again, total)
    again = torch.empty(6, 5, 1)
    call("aclnnInplaceAddRmsNorm", a, b, w, EPS, again)
    assert torch.equal(a, y) and torch.equal(b, total) and torch.equal(again, rstd)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("gamma", FLOATS)
def test_rms_norm_grad(dtype: torch.dtype, gamma: torch.dtype) -> None:
    for shape, k in CASES:
        last = shape[-k:]
        w = make(last, gamma, 1)
        for _, x in layouts(make(shape, dtype)):
            g = make(shape, dtype, 3)
            x64, w64 = wide(x, w)
            y, rstd = rms(x64, w64)
            want = torch.autograd.grad(y, (x64, w64), g.double())
            dx, dw = torch.empty(shape, dtype=dtype), torch.empty(last)
            call("aclnnRmsNormGrad", g, x, rstd.detach().float(), w, dx, dw)
            scale = max(1.0, rstd.max().item() if rstd.numel() else 1)
            assert_close(dx, want[0], 4, max(ATOL[dtype], 2e-6) * 4 * scale)
            assert_close(dw, want[1], 8, 1e-4 * scale)


def test_sums_over_many_rows_stay_exact() -> None:
    """4100 rows: float partial sums of 32 rows, then double."""
    x, g, w = (
        make((4100, 24), torch.float32),
        make((4100, 24), torch.float32, 1, low=0, high=4),
        make((24,), torch.float32, 2),
    )
    _, rstd = rms(x.double(), w.double())
    dx, dw = torch.empty_like(x), torch.empty(24)
    call("aclnnRmsNormGrad", g, x, rstd.float(), w, dx, dw)
    assert_close(dw, (g.double() * x.double() * rstd).sum(0), 4, 5e-5)


def test_bad_arguments() -> None:
    x, w = torch.zeros(3, 4), torch.zeros(4)
    with pytest.raises(
        OperatorError, match=r"aclnnLayerNorm: the last dimensions of input float32\[3,4\] are not"
    ):
        call("aclnnLayerNorm", x, IntArray([5]), None, None, EPS, x, None, None)
    with pytest.raises(OperatorError, match=r"aclnnLayerNorm: weight is float32\[3\]"):
        call("aclnnLayerNorm", x, IntArray([4]), torch.zeros(3), None, EPS, x, None, None)
    with pytest.raises(OperatorError, match=r"rstd is float32\[4\], want 3 floating point elements"):
        call("aclnnRmsNorm", x, w, EPS, x, torch.zeros(4))
    with pytest.raises(OperatorError, match="aclnnRmsNorm: y is float32"):
        call("aclnnRmsNorm", x, w, EPS, torch.zeros(4, 3), torch.zeros(3, 1))
    with pytest.raises(OperatorError, match="outputMask has 2 values, want 3"):
        call(
            "aclnnLayerNormBackward",
            x,
            x,
            IntArray([4]),
            w[:3],
            w[:3],
            w,
            w,
            BoolArray([True, True]),
            x,
            w,
            w,
        )
    with pytest.raises(OperatorError) as e:
        call("aclnnRmsNorm", None, w, EPS, x, None)
    assert e.value.code == 161001
