"""Unique, Unique2, UniqueConsecutive, SearchSorted: exact."""

from __future__ import annotations

import pytest
import torch
from aclnn import OperatorError, call
from compare import FLOATS, INTS, layouts, make


@pytest.mark.parametrize("dtype", [*FLOATS, *INTS, torch.bool])
def test_unique(dtype: torch.dtype) -> None:
    for shape in ((), (0,), (1,), (7,), (30, 50)):
        for _, x in layouts(make(shape, dtype).round() if dtype.is_floating_point else make(shape, dtype)):
            want, at, count = torch.unique(x, return_inverse=True, return_counts=True)
            values, inverse, counts = (
                torch.empty(x.numel(), dtype=dtype),
                torch.empty(shape, dtype=torch.int64),
                torch.empty(x.numel(), dtype=torch.int64),
            )
            (size, counted) = call(
                "aclnnUnique2", x, True, True, True, values, inverse, counts, shapes_of=(4, 6)
            )
            assert size == tuple(want.shape) == counted
            n = size[0]
            assert (
                torch.equal(values[:n], want) and torch.equal(inverse, at) and torch.equal(counts[:n], count)
            )
            (size,) = call(
                "aclnnUnique", x, True, False, values, torch.empty(0, dtype=torch.int64), shapes_of=(3,)
            )
            assert size == tuple(want.shape) and torch.equal(values[: size[0]], want)


def test_unique_nan_and_zeros() -> None:
    nan = float("nan")
    x = torch.tensor([nan, 0.0, -0.0, nan, 1.0])
    values, none = torch.empty(5), torch.empty(0, dtype=torch.int64)
    (size,) = call("aclnnUnique2", x, True, False, False, values, none, none, shapes_of=(4,))
    assert size == (4,) and values[:2].tolist() == [0, 1] and values[2:4].isnan().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bool])
def test_consecutive(dtype: torch.dtype) -> None:
    x = (make((6, 5, 4), torch.float32) > 2).to(dtype)
    for dim in (None, 0, 1, -1):
        want, at, count = torch.unique_consecutive(x, return_inverse=True, return_counts=True, dim=dim)
        values = torch.empty(x.shape if dim is not None else x.numel(), dtype=dtype)
        inverse = torch.empty(at.shape, dtype=torch.int64)
        counts = torch.empty(x.numel() if dim is None else x.shape[dim], dtype=torch.int64)
        size, counted = call(
            "aclnnUniqueConsecutive",
            x,
            True,
            True,
            1000 if dim is None else dim,
            values,
            inverse,
            counts,
            shapes_of=(4, 6),
        )
        assert size == tuple(want.shape) and counted == tuple(count.shape)
        assert torch.equal(values.flatten()[: want.numel()].view(want.shape), want)
        assert torch.equal(inverse, at) and torch.equal(counts[: counted[0]], count)


@pytest.mark.parametrize("dtype", [*FLOATS, *INTS])
def test_search_sorted(dtype: torch.dtype) -> None:
    for sequence_shape, value_shape in (((9,), ()), ((9,), (4, 7)), ((3, 9), (3, 11)), ((0,), (5,))):
        s, v = make(sequence_shape, dtype).sort(-1).values, make(value_shape, dtype, 1)
        for right in (False, True):
            for out_dtype in (torch.int32, torch.int64):
                want = torch.searchsorted(s, v, right=right, out_int32=out_dtype == torch.int32)
                out = torch.empty(value_shape, dtype=out_dtype)
                call("aclnnSearchSorted", s, v, out_dtype == torch.int32, right, None, out)
                assert torch.equal(out, want)


def test_search_sorted_sorter_and_errors() -> None:
    s = make((3, 9), torch.float32)
    sorter, v, out = s.argsort(-1), make((3, 4), torch.float32, 1), torch.empty(3, 4, dtype=torch.int64)
    call("aclnnSearchSorted", s, v, False, True, sorter, out)
    assert torch.equal(out, torch.searchsorted(s, v, right=True, sorter=sorter))
    with pytest.raises(OperatorError, match="sorter has 9 at element 0"):
        call("aclnnSearchSorted", s, v, False, True, sorter * 0 + 9, out)
    with pytest.raises(OperatorError, match="differ before the last dimension"):
        call("aclnnSearchSorted", s, v[:2], False, True, None, out[:2])
