"""ReduceSum, Mean, Prod: floats are accumulated in double, so one unit in the last place is allowed."""

from __future__ import annotations

import pytest
import torch
from aclnn import IntArray, OperatorError, call
from compare import COMPLEX, FLOATS, INTS, assert_close, layouts, make
from hypothesis import given, settings
from hypothesis import strategies as st

SHAPES_DIMS = [
    ((), []),
    ((1,), [0]),
    ((7,), [0]),
    ((3, 5), [0]),
    ((3, 5), [1]),
    ((2, 3, 4, 5), [1, 3]),
    ((2, 3, 4, 5), [0, 2]),
    ((1027,), []),
    ((129, 1031), [0]),
    ((129, 1031), [1]),
    ((129, 1031), []),
    ((3, 0, 2), [1]),
    ((3, 0, 2), [0]),
    ((5000, 3), [0]),
    ((3, 5000), [1]),
    ((40, 7, 6), [2]),
    ((700, 4), [1]),
    ((6, 70, 90), [0, 2]),
    ((2, 40000), [0]),
]


def reduced(x: torch.Tensor, dims: list[int], keep: bool) -> torch.Size:
    return torch.empty(x.shape).sum(dims or None, keepdim=keep).shape if x.dim() else torch.Size([])


def run_sum(x: torch.Tensor, dims: list[int], keep: bool, dtype: torch.dtype) -> torch.Tensor:
    out = torch.empty(reduced(x, dims, keep), dtype=dtype)
    call("aclnnReduceSum", x, IntArray(dims), keep, dtype, out)
    return out


@pytest.mark.parametrize("dtype", [*FLOATS, *INTS, torch.bool, *COMPLEX])
def test_sum_shapes_and_layouts(dtype: torch.dtype) -> None:
    for shape, dims in SHAPES_DIMS:
        for _, x in layouts(make(shape, dtype)):
            out_dtype = dtype if dtype.is_floating_point or dtype.is_complex else torch.int64
            wide = (
                x
                if out_dtype == torch.int64
                else x.to(torch.complex128 if dtype.is_complex else torch.float64)
            )
            for keep in (False, True):
                # 1 ulp, and what cancellation leaves of rounding in double.
                assert_close(
                    run_sum(x, dims, keep, out_dtype), wide.sum(dims or None, keepdim=keep), 1, 1e-10
                )


@pytest.mark.parametrize("dtype", [*FLOATS, *COMPLEX])
def test_mean(dtype: torch.dtype) -> None:
    for shape, dims in SHAPES_DIMS:
        for _, x in layouts(make(shape, dtype)):
            out = torch.empty(reduced(x, dims, False), dtype=dtype)
            call("aclnnMean", x, IntArray(dims), False, dtype, out)
            wide = x.to(torch.complex128 if dtype.is_complex else torch.float64)
            assert_close(out, wide.mean(dims or None), 1, 1e-12)


@pytest.mark.parametrize("dtype", [*FLOATS, *INTS, torch.bool, *COMPLEX])
def test_prod(dtype: torch.dtype) -> None:
    for shape in ((), (1,), (7,), (3, 11), (4, 0), (2, 3, 40)):
        x = (
            make(shape, dtype, low=0.5, high=1.5)
            if dtype.is_floating_point
            else make(shape, dtype, low=-0.3, high=0.3)
        )
        out_dtype = dtype if dtype.is_floating_point or dtype.is_complex else torch.int64
        wide = (
            x if out_dtype == torch.int64 else x.to(torch.complex128 if dtype.is_complex else torch.float64)
        )
        out = torch.empty((), dtype=out_dtype)
        call("aclnnProd", x, out_dtype, out)
        assert_close(out, wide.prod(), 8 if dtype == torch.float64 else 1, 1e-12)
        for dim in range(x.dim()):
            out = torch.empty(reduced(x, [dim], True), dtype=out_dtype)
            call("aclnnProdDim", x, dim, True, out_dtype, out)
            assert_close(out, wide.prod(dim, keepdim=True), 8 if dtype == torch.float64 else 1, 1e-12)


def test_sum_is_exact_over_millions() -> None:
    """A plain float accumulator would be off by thousands of units here."""
    x = make((3, 1 << 20), torch.float32, low=0, high=1)
    assert_close(run_sum(x, [], False, torch.float32), x.double().sum(), 0.51)
    assert_close(run_sum(x.t(), [0], False, torch.float32), x.double().sum(1), 0.51)


@pytest.mark.parametrize("name", ["rows", "columns", "all"])
def test_sum_of_bfloat16_is_that_of_floats(name: str) -> None:
    """Into float32, so that the rounding of the result hides nothing: short runs of floats, added up in double,
    leave less than a float's last place of the sum of magnitudes."""
    dims = {"rows": [1], "columns": [0], "all": []}[name]
    for shape in ((3, 1), (5, 63), (4, 1029), (130, 2049), (1031, 700)):
        x = make(shape, torch.bfloat16)
        want = x.double().sum(dims or None)
        bound = x.double().abs().sum(dims or None).max().item() * 2**-24
        assert_close(run_sum(x, dims, False, torch.float32), want, 1, bound)


def test_sum_of_expanded_gradient() -> None:
    x = torch.tensor(1.25).expand(1000, 37)
    assert_close(run_sum(x, [], False, torch.float32), torch.tensor(1.25 * 37000))
    assert_close(run_sum(x, [0], False, torch.float32), torch.full((37,), 1250.0))


def test_sum_nan_and_inf() -> None:
    x = torch.tensor([[float("nan"), 1.0], [float("inf"), 1.0], [float("inf"), -float("inf")]])
    assert_close(run_sum(x, [1], False, torch.float32), x.double().sum(1))


def test_sum_dtype_argument() -> None:
    x = make((50, 9), torch.bfloat16)
    assert_close(run_sum(x, [0], False, torch.float32), x.double().sum(0), 1, 1e-10)
    y = make((50, 9), torch.int32)
    assert_close(run_sum(y, [0], False, torch.float32), y.double().sum(0), 1)
    assert_close(
        run_sum(make((50,), torch.bool), [], False, torch.float32), make((50,), torch.bool).double().sum()
    )


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_sum_any_shape_and_stride(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=5))
    dims = data.draw(st.lists(st.integers(0, len(shape) - 1), unique=True, max_size=len(shape)))
    order = data.draw(st.permutations(range(len(shape))))
    x = make(tuple(shape), torch.float32).permute(*order)
    step = data.draw(st.integers(1, 3))
    x = x[..., ::step]
    dims = [d for d in dims if d < x.dim()]
    assert_close(run_sum(x, dims, True, torch.float32), x.double().sum(dims or None, keepdim=True), 1, 1e-12)


def test_bad_arguments() -> None:
    x, out = torch.zeros(3, 4), torch.zeros(3)
    with pytest.raises(
        OperatorError, match=r"aclnnReduceSum: dim\[0\] is 2, self float32\[3,4\] allows \[-2, 1\]"
    ) as e:
        call("aclnnReduceSum", x, IntArray([2]), False, torch.float32, out)
    assert e.value.code == 161002 and e.value.phase == 1
    with pytest.raises(OperatorError, match="dim 1 appears twice"):
        call("aclnnReduceSum", x, IntArray([1, -1]), False, torch.float32, out)
    with pytest.raises(
        OperatorError, match=r"out is float32\[4\], self float32\[3,4\] reduced gives float32\[3\]"
    ):
        call("aclnnReduceSum", x, IntArray([1]), False, torch.float32, torch.zeros(4))
    with pytest.raises(OperatorError) as e:
        call("aclnnReduceSum", None, IntArray([1]), False, torch.float32, out)
    assert e.value.code == 161001
    with pytest.raises(OperatorError, match="aclnnMean: not supported"):
        call(
            "aclnnMean",
            torch.zeros(3, dtype=torch.int32),
            IntArray([]),
            False,
            torch.int32,
            torch.zeros((), dtype=torch.int32),
        )
