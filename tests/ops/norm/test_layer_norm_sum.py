"""AddLayerNorm, DeepNorm and their gradients: layer norms of a sum, against float64."""

from __future__ import annotations

import pytest
import torch
from aclnn import OperatorError, call
from compare import FLOATS, assert_close, layouts, make

CASES = [((1,), 1), ((3, 7), 1), ((4, 3, 64), 1), ((5, 3, 7), 2), ((2, 1030), 1), ((70, 33), 1), ((0, 5), 1)]
ATOL = {torch.float32: 4e-6, torch.bfloat16: 2e-2, torch.float16: 2e-3, torch.float64: 1e-12}
EPS = 1e-5


def reference(s: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> list[torch.Tensor]:
    dims = tuple(range(-w.dim(), 0))
    mean, rstd = s.mean(dims, keepdim=True), (s.var(dims, unbiased=False, keepdim=True) + EPS).rsqrt()
    return [(s - mean) * rstd * w + b, mean, rstd]


@pytest.mark.parametrize("dtype", FLOATS)
def test_layer_norm_sum(dtype: torch.dtype) -> None:
    stats = torch.float64 if dtype == torch.float64 else torch.float32
    for shape, k in CASES:
        last, rows = shape[-k:], shape[:-k] + (1,) * k
        w, b, x2 = make(last, dtype, 1), make(last, dtype, 2), make(shape, dtype, 3)
        y, total = torch.empty(shape, dtype=dtype), torch.empty(shape, dtype=dtype)
        mean, rstd = torch.empty(rows, dtype=stats), torch.empty(rows, dtype=stats)
        for _, x in layouts(make(shape, dtype)):
            for bias in (None, make(last, dtype, 4), make(shape, dtype, 5)):
                s = x.double() + x2.double() + (0 if bias is None else bias.double())
                want = reference(s, w.double(), b.double())
                call("aclnnAddLayerNorm", x, x2, w, b, bias, EPS, True, y, mean, rstd, total)
                size = max(1.0, want[2].max().item() if s.numel() else 1)
                assert_close(total, s, 1, 1e-6)
                assert_close(y, want[0], 2, ATOL[dtype] * size)
                assert_close(mean, want[1], 1, 1e-6)
                assert_close(rstd, want[2], 2, 1e-6 * size**2)
            untouched = total.clone()
            call("aclnnAddLayerNorm", x, x2, w, b, None, EPS, False, y, mean, rstd, total)
            assert torch.equal(total, untouched)
            want = reference(0.3 * x.double() + x2.double(), w.double(), b.double())
            call("aclnnDeepNorm", x, x2, b, w, 0.3, EPS, mean, rstd, y)
            assert_close(y, want[0], 2, ATOL[dtype] * max(1.0, want[2].max().item() if y.numel() else 1))
            assert_close(mean, want[1], 1, 1e-6)


def test_mixed_types() -> None:
    """A half and a float: the sum is float32's, of neither rounded."""
    x1, x2 = make((5, 33), torch.float16), make((5, 33), torch.float32, 1)
    w, b = make((33,), torch.float32, 2), make((33,), torch.float32, 3)
    y, total, mean, rstd = torch.empty(5, 33), torch.empty(5, 33), torch.empty(5, 1), torch.empty(5, 1)
    call("aclnnAddLayerNorm", x1, x2, w, b, None, EPS, True, y, mean, rstd, total)
    assert_close(total, x1.double() + x2.double(), 1)
    assert_close(y, reference(x1.double() + x2.double(), w.double(), b.double())[0], 2, 4e-6)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("alpha", [None, 0.3])
def test_gradients(dtype: torch.dtype, alpha: float | None) -> None:
    stats = torch.float64 if dtype == torch.float64 else torch.float32
    for shape, k in CASES:
        last = shape[-k:]
        w, x2, g = make(last, dtype, 1), make(shape, dtype, 3), make(shape, dtype, 4)
        for _, x in layouts(make(shape, dtype)):
            wide = [t.double().requires_grad_() for t in (x, x2, w, torch.zeros(last))]
            y, mean, rstd = reference(wide[0] * (1 if alpha is None else alpha) + wide[1], wide[2], wide[3])
            want = torch.autograd.grad(y, wide, g.double())
            mean, rstd = mean.detach().to(stats), rstd.detach().to(stats)
            dx, dx2 = torch.empty(shape, dtype=dtype), torch.empty(shape, dtype=dtype)
            dw, db = torch.empty(last), torch.empty(last)
            size = max(1.0, rstd.max().item() if rstd.numel() else 1)
            if alpha is None:
                dsum = make(shape, dtype, 5)
                call("aclnnAddLayerNormGrad", g, x, x2, rstd, mean, w, dsum, dx, dw, db)
                assert_close(dx, want[0] + dsum.double(), 4, ATOL[dtype] * 4 * size)
                call("aclnnAddLayerNormGrad", g, x, x2, rstd, mean, w, None, dx, dw, db)
            else:
                call("aclnnDeepNormGrad", g, x, x2, w, mean, rstd, alpha, dx, dx2, db, dw)
                assert_close(dx2, want[1], 4, ATOL[dtype] * 4 * size)
            assert_close(dx, want[0], 4, ATOL[dtype] * 4 * size)
            assert_close(dw, want[2], 8, 1e-4 * size)
            assert_close(db, want[3], 8, 1e-4)


def test_bad_input() -> None:
    x, w, s = torch.ones(3, 8), torch.ones(8), torch.empty(3, 1)
    with pytest.raises(
        OperatorError, match="aclnnAddLayerNorm: xOut is null, which additionalOutput asks for"
    ):
        call("aclnnAddLayerNorm", x, x, w, w, None, EPS, True, x, s, s, None)
    with pytest.raises(OperatorError, match="aclnnAddLayerNorm: biasOptional is"):
        call("aclnnAddLayerNorm", x, x, w, w, torch.ones(3), EPS, False, x, s, s, None)
    with pytest.raises(OperatorError, match="aclnnDeepNorm: the second input is"):
        call("aclnnDeepNorm", x, torch.ones(3, 7), w, w, 0.3, EPS, s, s, x)
    with pytest.raises(OperatorError, match="aclnnDeepNormGrad: dxOut is null"):
        call("aclnnDeepNormGrad", x, x, x, w, s, s, 0.3, None, x, w, w)
