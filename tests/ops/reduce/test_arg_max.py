"""MaxDim, MinDim, ArgMax, ArgMin: exact, the first of equal values, the first NaN."""

from __future__ import annotations

import pytest
import torch
from aclnn import OperatorError, call
from compare import FLOATS, INTS, layouts, make

SHAPES = [(), (1,), (7,), (3, 5), (5, 3, 4), (2100, 3), (3, 2100), (64, 70), (40, 1)]


def check(x: torch.Tensor, dim: int) -> None:
    for name in ("max", "min"):
        want, at = getattr(torch, name)(x, dim, keepdim=True)
        # torch promises no particular index among equals: the first is what argmax and argmin give.
        at = getattr(torch, "arg" + name)(x.long() if x.dtype == torch.bool else x, dim, keepdim=True)
        values, indices = torch.empty_like(want), torch.empty_like(at)
        call(f"aclnn{name.capitalize()}Dim", x, dim, True, values, indices)
        assert torch.equal(values.nan_to_num(123.0), want.nan_to_num(123.0)) and torch.equal(indices, at)
        indices = torch.empty_like(at)
        call(f"aclnnArg{name.capitalize()}", x, dim, True, indices)
        assert torch.equal(indices, at)


@pytest.mark.parametrize("dtype", [*FLOATS, *INTS, torch.bool])
def test_every_dtype_and_layout(dtype: torch.dtype) -> None:
    for shape in SHAPES:
        for _, x in layouts(make(shape, dtype)):
            for dim in range(max(len(shape), 1)):
                check(x, dim)


@pytest.mark.parametrize("dtype", FLOATS)
def test_nan_and_ties(dtype: torch.dtype) -> None:
    x = make((3000, 3), dtype).round()
    check(x, 0)
    x[[5, 1500, 2999], [0, 1, 2]] = float("nan")
    x[1700, 1] = float("nan")
    check(x, 0)
    check(x.t(), 1)
    check(x.t().contiguous(), 1)
    check(torch.full((4, 9), -float("inf"), dtype=dtype), 1)
    check(torch.full((4, 9), float("inf"), dtype=dtype), 1)


def test_long_row_is_cut_and_joined() -> None:
    x = make((300_001,), torch.float32).round()
    x[200_000:] += 1
    check(x, 0)
    check(make((300_001, 2), torch.int32), 0)


def test_empty() -> None:
    with pytest.raises(OperatorError, match=r"aclnnArgMax: self float32\[0,3\] has no elements to reduce"):
        call("aclnnArgMax", torch.zeros(0, 3), 0, False, torch.zeros(3, dtype=torch.int64))
    call("aclnnArgMax", torch.zeros(0, 3), 1, False, torch.zeros(0, dtype=torch.int64))
