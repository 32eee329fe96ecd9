"""Norm, LinalgVectorNorm: summed in double, one unit for rounding."""

from __future__ import annotations

import pytest
import torch
from aclnn import IntArray, OperatorError, Scalar, call
from compare import COMPLEX, FLOATS, assert_close, layouts, make

CASES = [
    ((), []),
    ((1,), [0]),
    ((7,), [0]),
    ((3, 5), [0]),
    ((3, 5), [1]),
    ((2, 3, 4, 5), [1, 3]),
    ((129, 1031), []),
    ((5000, 3), [0]),
    ((2, 3000), [1]),
]
INF = float("inf")


@pytest.mark.parametrize("dtype", [*FLOATS, *COMPLEX])
@pytest.mark.parametrize("p", [0.0, 1.0, 2.0, 3.0, 0.5, -1.5, INF, -INF])
def test_every_power(dtype: torch.dtype, p: float) -> None:
    real = torch.empty(0, dtype=dtype).abs().dtype
    for shape, dims in CASES:
        for _, x in layouts(make(shape, dtype)):
            wide = x.to(torch.complex128 if dtype.is_complex else torch.float64).abs()
            want = torch.linalg.vector_norm(wide, p, dims or None, keepdim=True)
            out = torch.empty(want.shape, dtype=real)
            call("aclnnNorm", x, Scalar(p), IntArray(dims), True, out)
            assert_close(out, want, 1000 if real == torch.float64 else 1)  # torch rounds too
            out = torch.empty(want.shape, dtype=torch.float32)
            call("aclnnLinalgVectorNorm", x, Scalar(p), IntArray(dims), True, torch.float32, out)
            assert_close(out, want, 1)


def test_no_overflow_or_underflow_of_squares() -> None:
    for scale in (1e30, 1e-30):
        x = torch.full((100,), scale)
        out = torch.empty(())
        call("aclnnNorm", x, Scalar(2.0), IntArray([]), False, out)
        assert_close(out, x.double().norm(), 1)


def test_bfloat16_beyond_the_range_of_squares() -> None:
    """Blocks of a row that are added in floats, and such that must not be."""
    g = torch.Generator().manual_seed(4)
    rows = torch.randn(9, 5003, generator=g)
    scales = (1.0, 1e30, 1e-30, 1e-38, 0.0, 1e19, 1e-14)
    for row, scale in zip(rows, scales, strict=False):
        row *= scale
    rows[7, :1024], rows[8, 100] = 1e25, float("inf")
    x = rows.to(torch.bfloat16)
    for view, dim in ((x, 1), (x.t().contiguous(), 0)):
        out = torch.empty(9, dtype=torch.bfloat16)
        call("aclnnLinalgVectorNorm", view, Scalar(2.0), IntArray([dim]), False, torch.bfloat16, out)
        assert_close(out, torch.linalg.vector_norm(view.double(), 2, dim), 1)


def test_nan_empty_and_bad_input() -> None:
    x = torch.tensor([1.0, float("nan"), INF])
    for p in (1.0, 2.0, INF, -INF):
        out = torch.empty(())
        call("aclnnNorm", x, Scalar(p), IntArray([]), False, out)
        assert out.isnan()
    out = torch.empty(())
    call("aclnnNorm", torch.zeros(0), Scalar(2.0), IntArray([]), False, out)
    assert out == 0
    with pytest.raises(OperatorError, match="has no elements to reduce"):
        call("aclnnLinalgVectorNorm", torch.zeros(0), Scalar(INF), IntArray([]), False, torch.float32, out)
    with pytest.raises(OperatorError, match=r"aclnnNorm: self is int64\[3\]"):
        call("aclnnNorm", torch.zeros(3, dtype=torch.int64), Scalar(2.0), IntArray([]), False, out)
