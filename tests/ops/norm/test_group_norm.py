"""Group norm, with SiLU or swish behind it, and its gradients: statistics in float32, against float64."""

from __future__ import annotations

import pytest
import torch
from aclnn import BoolArray, OperatorError, call
from compare import FLOATS, assert_close, layouts, make

# Shape and groups.
CASES = [
    ((2, 6, 5, 7), 3),
    ((3, 4), 2),
    ((1, 8, 33), 8),
    ((4, 10, 3, 2, 5), 1),
    ((0, 4, 3), 2),
    ((2, 2, 1030), 2),
]
# A few roundings in float32, one in 16 bits, of an output of size 1.
ATOL = {torch.float32: 4e-6, torch.bfloat16: 2e-2, torch.float16: 2e-3, torch.float64: 1e-12}
EPS = 1e-5


def stats_of(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def reference(
    x: torch.Tensor, group: int, w: torch.Tensor | None, b: torch.Tensor | None
) -> list[torch.Tensor]:
    rows = x.reshape(x.shape[0] * group, x.shape[1] // group * torch.Size(x.shape[2:]).numel())
    mean, rstd = rows.mean(1), (rows.var(1, unbiased=False) + EPS).rsqrt()
    z = ((rows - mean[:, None]) * rstd[:, None]).view(x.shape)
    channel = (1, -1) + (1,) * (x.dim() - 2)
    y = z * (1 if w is None else w.view(channel)) + (0 if b is None else b.view(channel))
    return [y, mean.view(x.shape[0], group), rstd.view(x.shape[0], group)]


def swish(y: torch.Tensor, scale: float) -> torch.Tensor:
    return y * torch.sigmoid(scale * y)


@pytest.mark.parametrize("dtype", FLOATS)
def test_group_norm(dtype: torch.dtype) -> None:
    for shape, group in CASES:
        n, c = shape[:2]
        hw = torch.Size(shape[2:]).numel()
        w, b = make((c,), dtype, 1), make((c,), dtype, 2)
        mean, rstd = (
            torch.empty(n, group, dtype=stats_of(dtype)),
            torch.empty(n, group, dtype=stats_of(dtype)),
        )
        for _, x in layouts(make(shape, dtype)):
            for weight, bias in ((w, b), (w, None), (None, b), (None, None)):
                wide = [None if t is None else t.double() for t in (weight, bias)]
                y, m, r = reference(x.double(), group, *wide)
                out = torch.empty(shape, dtype=dtype)
                call("aclnnGroupNorm", x, weight, bias, n, c, hw, group, EPS, out, mean, rstd)
                assert_close(out, y, 2, ATOL[dtype])
                assert_close(mean, m, 1, 1e-6)
                assert_close(rstd, r, 2, 1e-6)
                call("aclnnGroupNormSilu", x, weight, bias, group, EPS, out, mean, rstd)
                assert_close(out, swish(y, 1), 2, ATOL[dtype])
                call("aclnnGroupNormSwish", x, weight, bias, group, "NCHW", EPS, True, 1.5, out, mean, rstd)
                assert_close(out, swish(y, 1.5), 2, ATOL[dtype])
                call("aclnnGroupNormSwish", x, weight, bias, group, None, EPS, False, 1.5, out, mean, rstd)
                assert_close(out, y, 2, ATOL[dtype])


def test_channels_last() -> None:
    """The groups of rows that are not in the order of memory."""
    x = make((2, 6, 5, 7), torch.float32).to(memory_format=torch.channels_last)
    w, b = make((6,), torch.float32, 1), make((6,), torch.float32, 2)
    out = torch.empty_like(x, memory_format=torch.channels_last)
    mean, rstd = torch.empty(2, 3), torch.empty(2, 3)
    call("aclnnGroupNorm", x, w, b, 2, 6, 35, 3, EPS, out, mean, rstd)
    y, m, _ = reference(x.double(), 3, w.double(), b.double())
    assert_close(out, y, 2, 4e-6)
    assert_close(mean, m, 1, 1e-6)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("scale", [None, 1.0, 1.5])
def test_group_norm_backward(dtype: torch.dtype, scale: float | None) -> None:
    for shape, group in CASES:
        n, c = shape[:2]
        hw = torch.Size(shape[2:]).numel()
        w, b = make((c,), dtype, 1), make((c,), dtype, 2)
        for _, x in layouts(make(shape, dtype)):
            g = make(shape, dtype, 3)
            wide = [t.double().requires_grad_() for t in (x, w, b)]
            y, mean, rstd = reference(wide[0], group, wide[1], wide[2])
            want = torch.autograd.grad(y if scale is None else swish(y, scale), wide, g.double())
            mean, rstd = (t.detach().to(stats_of(dtype)) for t in (mean, rstd))
            dx, dw, db = torch.empty(shape, dtype=dtype), torch.empty(c), torch.empty(c)
            if scale is None:
                sizes = (n, c, hw, group)
                mask = BoolArray([True] * 3)
                call("aclnnGroupNormBackward", g, x, mean, rstd, w, *sizes, mask, dx, dw, db)
                only = torch.empty(c)
                mask = BoolArray([False, True, False])
                call("aclnnGroupNormBackward", g, x, mean, rstd, w, *sizes, mask, None, only, None)
                assert torch.equal(only, dw)
            else:
                flags = ("NCHW", scale, True, True)
                call("aclnnGroupNormSwishGrad", g, mean, rstd, x, w, b, group, *flags, dx, dw, db)
            size = max(1.0, rstd.max().item() if rstd.numel() else 1)
            assert_close(dx, want[0], 4, ATOL[dtype] * 4 * size)
            assert_close(dw, want[1], 8, 1e-4 * size)
            assert_close(db, want[2], 8, 1e-4)


def test_bad_input() -> None:
    x, w, s = torch.ones(2, 6, 4), torch.ones(6), torch.empty(2, 3)
    with pytest.raises(OperatorError, match="aclnnGroupNorm: 4 groups, .*want a divisor of its 6 channels"):
        call("aclnnGroupNorm", x, w, w, 2, 6, 4, 4, EPS, x, s, s)
    with pytest.raises(OperatorError, match="aclnnGroupNorm: N, C and HxW are 2, 6 and 5"):
        call("aclnnGroupNorm", x, w, w, 2, 6, 5, 3, EPS, x, s, s)
    with pytest.raises(OperatorError, match="aclnnGroupNormSilu: gamma is .*want 6 floating point elements"):
        call("aclnnGroupNormSilu", x, torch.ones(5), w, 3, EPS, x, s, s)
    with pytest.raises(OperatorError, match="aclnnGroupNormSwish: dataFormatOptional is NHWC, want NCHW"):
        call("aclnnGroupNormSwish", x, w, w, 3, "NHWC", EPS, True, 1.0, x, s, s)
    with pytest.raises(OperatorError, match="aclnnGroupNormSwishGrad: dxOut, or another output"):
        call("aclnnGroupNormSwishGrad", x, s, s, x, w, w, 3, "NCHW", 1.0, True, True, None, w, w)
