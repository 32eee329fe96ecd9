"""Amax, Amin, Max, Min, Any, All: exact."""

from __future__ import annotations

import pytest
import torch
from aclnn import IntArray, OperatorError, call
from compare import COMPLEX, FLOATS, INTS, assert_close, layouts, make, special_values

CASES = [
    ((), []),
    ((7,), [0]),
    ((3, 5), [0]),
    ((3, 5), [1]),
    ((2, 3, 4, 5), [1, 3]),
    ((129, 1031), [0]),
    ((129, 1031), [1]),
    ((70001,), []),
    ((5000, 3), [0]),
    ((600, 4), [1]),
]


@pytest.mark.parametrize("dtype", [*FLOATS, *INTS, torch.bool])
@pytest.mark.parametrize("name", ["amax", "amin"])
def test_over_dims(name: str, dtype: torch.dtype) -> None:
    for shape, dims in CASES:
        for _, x in layouts(make(shape, dtype)):
            want = getattr(torch, name)(x, dims, keepdim=True)
            out = torch.empty_like(want)
            call("aclnn" + name.capitalize(), x, IntArray(dims), True, out)
            assert torch.equal(out, want)


@pytest.mark.parametrize("name", ["max", "min"])
@pytest.mark.parametrize("dtype", [*FLOATS, *INTS, torch.bool])
def test_over_all(name: str, dtype: torch.dtype) -> None:
    for shape in ((), (1,), (300, 401)):
        x = make(shape, dtype)
        out = torch.empty((), dtype=dtype)
        call("aclnn" + name.capitalize(), x, out)
        assert torch.equal(out, getattr(torch, name)(x))


@pytest.mark.parametrize("dtype", FLOATS)
def test_nan_wins_wherever_it_is(dtype: torch.dtype) -> None:
    for at in (0, 1, 63, 64, 100, 4095):
        x = make((4096, 3), dtype)
        x[at, 1] = float("nan")
        for name in ("amax", "amin"):
            for view in (x, x.t().contiguous().t()):
                out = torch.empty(3, dtype=dtype)
                call("aclnn" + name.capitalize(), view, IntArray([0]), False, out)
                assert_close(out, getattr(torch, name)(x, 0))
    x = special_values(dtype)[1:]
    out = torch.empty((), dtype=dtype)
    call("aclnnMax", x, out)
    assert out == float("inf")


@pytest.mark.parametrize("name", ["amax", "amin"])
def test_bfloat16_where_it_lies(name: str) -> None:
    """Every length of the end of a row; NaN of either sign anywhere, infinities, zeros of both signs."""
    function = getattr(torch, name)
    for n in (1, 2, 127, 128, 129, 255, 400):
        x = make((5, n), torch.bfloat16)
        x[1, n // 2] = torch.nan
        x[2, n - 1] = -torch.nan
        x[3, 0], x[3, n - 1] = torch.inf, -torch.inf
        x[4] = -0.0
        for source in (x, -x.abs(), x.abs()):
            out = torch.empty(5, dtype=torch.bfloat16)
            call("aclnn" + name.capitalize(), source, IntArray([1]), False, out)
            assert torch.equal(out.nan_to_num(7.0), function(source, 1).nan_to_num(7.0))
            assert torch.equal(out.isnan(), function(source, 1).isnan())


def test_int64_extremes() -> None:
    x = torch.tensor([-(1 << 63), (1 << 63) - 1, 0])
    for name in ("max", "min"):
        out = torch.empty((), dtype=torch.int64)
        call("aclnn" + name.capitalize(), x, out)
        assert out == getattr(torch, name)(x)


def test_empty_is_an_error_only_if_there_is_an_output() -> None:
    with pytest.raises(OperatorError, match=r"aclnnAmax: self float32\[2,0\] has no elements to reduce"):
        call("aclnnAmax", torch.zeros(2, 0), IntArray([1]), False, torch.zeros(2))
    call("aclnnAmax", torch.zeros(2, 0), IntArray([0]), False, torch.zeros(0))


@pytest.mark.parametrize("dtype", [*FLOATS, *INTS, torch.bool, *COMPLEX])
@pytest.mark.parametrize("name", ["any", "all"])
def test_truth(name: str, dtype: torch.dtype) -> None:
    for shape, dims in [*CASES, ((3, 0), [1]), ((0, 3), [1])]:
        for p in (0, 1, 2):
            x = (make(shape, torch.int32) > (-100, 39, 100)[p]).to(dtype)
            want = getattr(torch, name)(x, dims) if dims else getattr(torch, name)(x)
            out = torch.empty_like(want)
            call("aclnn" + name.capitalize(), x, IntArray(dims), False, out)
            assert torch.equal(out, want) and out.dtype == want.dtype


def test_any_of_nan_and_fraction() -> None:
    out = torch.empty((), dtype=torch.bool)
    for value in (float("nan"), 0.25, -0.0):
        call("aclnnAny", torch.tensor([0.0, value]), IntArray([]), False, out)
        assert out.item() == (value != 0)
