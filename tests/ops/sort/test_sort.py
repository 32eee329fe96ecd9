"""Sort and Topk: exact, stable, NaN is the largest."""

from __future__ import annotations

import pytest
import torch
from aclnn import OperatorError, call
from compare import FLOATS, INTS, layouts, make
from hypothesis import given, settings
from hypothesis import strategies as st

SHAPES = [(), (1,), (0, 3), (7,), (3, 50), (60, 3), (2, 3, 4), (3, 700)]


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.is_floating_point():
        return torch.equal(a.isnan(), b.isnan()) and torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0))
    return torch.equal(a, b)


def check_sort(x: torch.Tensor, dim: int, descending: bool) -> None:
    values, indices = torch.empty_like(x), torch.empty(x.shape, dtype=torch.int64)
    call("aclnnSort", x, False, dim, descending, values, indices)
    want, at = torch.sort(x, dim=dim, descending=descending, stable=True)
    assert same(values, want) and torch.equal(indices, at)


def check_topk(x: torch.Tensor, k: int, dim: int, largest: bool) -> None:
    """Equal values: the first positions, in order."""
    shape = list(x.shape)
    if shape:
        shape[dim] = k
    values, indices = torch.empty(shape, dtype=x.dtype), torch.empty(shape, dtype=torch.int64)
    want, at = torch.sort(x, dim=dim, descending=largest, stable=True)
    if x.dim():
        want, at = want.narrow(dim, 0, k), at.narrow(dim, 0, k)
    call("aclnnTopk", x, k, dim, largest, True, values, indices)
    assert same(values, want) and torch.equal(indices, at)
    call("aclnnTopk", x, k, dim, largest, False, values, indices)
    assert torch.equal(indices.sort(dim).values, at.sort(dim).values)


@pytest.mark.parametrize("dtype", [*FLOATS, *INTS, torch.bool])
def test_every_dtype_and_layout(dtype: torch.dtype) -> None:
    for shape in SHAPES:
        for _, x in layouts(make(shape, dtype)):
            for dim in range(max(len(shape), 1)):
                for flag in (False, True):
                    check_sort(x, dim, flag)
                    n = x.shape[dim] if shape else 1
                    for k in {min(n, 2), n // 2, n} if shape else {1}:
                        check_topk(x, k, dim, flag)


@pytest.mark.parametrize("dtype", FLOATS)
def test_nan_infinity_and_zeros(dtype: torch.dtype) -> None:
    inf, nan = float("inf"), float("nan")
    x = torch.tensor([0.0, -0.0, nan, 1, -inf, inf, -nan, -1, 0.0, -0.0] * 9, dtype=dtype)
    for n in (10, 90):
        for flag in (False, True):
            check_sort(x[:n], 0, flag)
            check_topk(x[:n], 5, 0, flag)
    values = torch.empty_like(x[:10])
    call("aclnnSort", x[:10], True, 0, False, values, torch.empty(10, dtype=torch.int64))
    want = torch.sort(x[:10], stable=True).values
    assert torch.equal(values.signbit()[:7], want.signbit()[:7])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int32])
def test_few_of_many(dtype: torch.dtype) -> None:
    """Up to 24 are kept in order as they are found; more are selected and sorted."""
    for n in (25, 64, 600, 3000):
        x = make((3, n), dtype)
        rising, ties = x.sort(1).values, x.to(torch.int32).to(dtype)
        for source in (x, rising, rising.flip(1), ties):
            for k in (1, 8, 24, 25):
                check_topk(source, min(k, n), 1, True)
                check_topk(source, min(k, n), 1, False)


def test_many_ties_and_long_rows() -> None:
    check_sort(make((30_000,), torch.float32).round(), 0, True)
    check_topk(make((4, 30_000), torch.float32).round(), 100, 1, True)
    check_topk(make((300, 64), torch.bfloat16), 8, -1, True)
    check_sort(torch.tensor([-(1 << 63), (1 << 63) - 1, 0, -1] * 20), 0, False)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, -1.5, 2.0, float("inf"), float("nan")]), min_size=1, max_size=120),
    st.data(),
)
def test_topk_against_sort(values: list[float], data: st.DataObject) -> None:
    check_topk(torch.tensor(values), data.draw(st.integers(0, len(values))), 0, data.draw(st.booleans()))


def test_bad_arguments() -> None:
    x, i = torch.zeros(3, 4), torch.zeros(3, 4, dtype=torch.int64)
    with pytest.raises(
        OperatorError, match=r"aclnnTopk: k is 5, dimension 1 of self float32\[3,4\] allows 0 to 4"
    ):
        call("aclnnTopk", x, 5, 1, True, True, x, i)
    with pytest.raises(OperatorError, match="aclnnSort: dim is 2"):
        call("aclnnSort", x, True, 2, True, x, i)
    with pytest.raises(OperatorError, match="which has no order"):
        call("aclnnSort", x.to(torch.complex64), True, 0, True, x, i)
    with pytest.raises(OperatorError, match="indices is float32"):
        call("aclnnSort", x, True, 0, True, x, x)
