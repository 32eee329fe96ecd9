"""Cumsum, Histc, Bincount: exact counts; sums in double, one unit for rounding."""

from __future__ import annotations

import pytest
import torch
from aclnn import OperatorError, Scalar, call
from compare import COMPLEX, FLOATS, INTS, assert_close, layouts, make


@pytest.mark.parametrize("dtype", [*FLOATS, *INTS, torch.bool, *COMPLEX])
def test_cumsum(dtype: torch.dtype) -> None:
    for shape in ((), (1,), (0, 3), (7,), (30, 5), (2, 3, 70)):
        for _, x in layouts(make(shape, dtype)):
            out_dtype = dtype if dtype.is_floating_point or dtype.is_complex else torch.int64
            wide = x.to(
                torch.complex128
                if dtype.is_complex
                else torch.float64
                if dtype.is_floating_point
                else torch.int64
            )
            for dim in range(-1, max(len(shape) - 1, 0)):
                out = torch.empty(shape, dtype=out_dtype)
                call("aclnnCumsum", x, dim, out_dtype, out)
                assert_close(out, wide.cumsum(dim), 1, 1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int32, torch.int64])
def test_histc(dtype: torch.dtype) -> None:
    x = make((50, 7), dtype, low=-3, high=5)
    for low, high in ((-2.0, 3.0), (0.0, 0.0), (1.0, 1.0)):
        out = torch.empty(9, dtype=dtype)
        call("aclnnHistc", x, 9, Scalar(low), Scalar(high), out)
        assert torch.equal(out.float(), torch.histc(x.float(), 9, low, high))


def test_histc_edges_and_errors() -> None:
    x = torch.tensor([float("nan"), -1.0, 0.0, 0.5, 1.0, 2.0])
    out = torch.empty(2)
    call("aclnnHistc", x, 2, Scalar(0.0), Scalar(1.0), out)
    assert out.tolist() == [1.0, 2.0]
    call("aclnnHistc", torch.zeros(0), 2, Scalar(0.0), Scalar(0.0), out)
    assert out.tolist() == [0.0, 0.0]
    with pytest.raises(OperatorError, match="is not finite"):
        call("aclnnHistc", x, 2, Scalar(0.0), Scalar(0.0), out)
    with pytest.raises(OperatorError, match="min 2 is larger than max 1"):
        call("aclnnHistc", x, 2, Scalar(2.0), Scalar(1.0), out)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int32, torch.int64, torch.uint8])
def test_bincount(dtype: torch.dtype) -> None:
    x = make((500,), torch.int64).abs().to(dtype)
    w = make((500,), torch.float32)
    size = int(x.max()) + 5
    out = torch.empty(size, dtype=torch.int64)
    call("aclnnBincount", x, None, size, out)
    assert torch.equal(out, torch.bincount(x, minlength=size))
    for out_dtype in (torch.float32, torch.float64):
        out = torch.empty(size, dtype=out_dtype)
        call("aclnnBincount", x, w, size, out)
        assert_close(out, torch.bincount(x, w.double(), size), 1, 1e-12)


def test_bincount_errors() -> None:
    out = torch.empty(3, dtype=torch.int64)
    with pytest.raises(OperatorError, match=r"self\[1\] is -1, out has room for 0 to 2") as e:
        call("aclnnBincount", torch.tensor([0, -1]), None, 0, out)
    assert e.value.phase == 2
    with pytest.raises(OperatorError, match=r"self\[0\] is 3"):
        call("aclnnBincount", torch.tensor([3]), None, 0, out)
    with pytest.raises(OperatorError, match="want one dimension of integers"):
        call("aclnnBincount", torch.tensor([1.0]), None, 0, out)


def test_columns_have_the_bits_of_rows() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        for shape in ((3, 16), (70, 65), (2100, 15), (5, 300), (1, 40)):
            x = make(shape, dtype)
            across, along = torch.empty_like(x), torch.empty(shape[::-1], dtype=dtype)
            call("aclnnCumsum", x, 0, dtype, across)
            call("aclnnCumsum", x.t().contiguous(), 1, dtype, along)
            assert torch.equal(across, along.t())
