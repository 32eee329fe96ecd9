# SPDX-License-Identifier: Apache-2.0
"""Products of experts around an exchange of uneven counts, in a group of one rank: what is computed, and what is
refused. Groups of several: tests/python/test_distributed.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from aclnn import IntArray, OperatorError, call

TOLERANCE = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
COUNTS = ([3, 0, 4], [5], [0, 0], [1, 2, 3, 4])
BEFORE, AFTER = "aclnnAlltoAllvGroupedMatMul", "aclnnGroupedMatMulAlltoAllv"


def products(x: torch.Tensor, weight: torch.Tensor, counts: list[int]) -> torch.Tensor:
    """Each expert's rows by its matrix, in float64."""
    parts = zip(x.double().split(counts), weight.double(), strict=True)
    return torch.cat([rows @ matrix for rows, matrix in parts])


def near(got: torch.Tensor, want: torch.Tensor) -> None:
    tolerance = TOLERANCE[got.dtype]
    torch.testing.assert_close(got.double(), want, rtol=tolerance, atol=tolerance * 4, equal_nan=True)


def mode(version: str) -> tuple[str, ...]:
    return ("ccu",) if version else ()


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("counts", COUNTS)
@pytest.mark.parametrize("version", ["", "V2"])
def test_products(group: str, dtype: torch.dtype, counts: list[int], version: str) -> None:
    torch.manual_seed(sum(counts))
    rows, k, n = sum(counts), 37, 5
    x, weight = torch.randn(rows, k).to(dtype), torch.randn(len(counts), k, n).to(dtype)
    shared, matrix = torch.randn(6, 11).to(dtype), torch.randn(11, 3).to(dtype)
    want, sizes = products(x, weight, counts), IntArray(counts)
    for first in (x, x.t().contiguous().t()):
        for turned in (False, True):
            w = weight.transpose(1, 2).contiguous() if turned else weight
            m = matrix.t().contiguous() if turned else matrix
            out, moved = torch.full((rows, n), 7.0, dtype=dtype), torch.full((rows, k), 7.0, dtype=dtype)
            mm_out = torch.full((6, 3), 7.0, dtype=dtype)
            call(
                BEFORE + version, first, w, None, None, shared, m, group, *mode(version), 1, sizes, sizes, turned,
                turned, True, out, mm_out, moved,
            )  # fmt: skip
            near(out, want)
            near(mm_out, shared.double() @ matrix.double())
            assert torch.equal(moved, x)
            again = torch.full_like(out, 7.0)
            call(
                AFTER + version, first, w, None, None, None, None, group, *mode(version), 1, sizes, sizes, turned,
                False, again, None,
            )  # fmt: skip
            assert torch.equal(again, out)


def test_specials(group: str) -> None:
    """A row with NaN or infinity spoils itself alone, and permuteOutOptional is left alone unless it is asked for."""
    x, weight = torch.ones(4, 3), torch.ones(2, 3, 2)
    x[1, 0], x[2, 1] = float("nan"), float("inf")
    out, left = torch.zeros(4, 2), torch.full((4, 3), 5.0)
    counts = IntArray([1, 3])
    call(
        BEFORE,
        x,
        weight,
        None,
        None,
        None,
        None,
        group,
        1,
        counts,
        counts,
        False,
        False,
        False,
        out,
        None,
        left,
    )
    near(out, products(x, weight, [1, 3]))
    assert torch.isfinite(out[[0, 3]]).all() and (left == 5).all()


def test_the_gradient_of_the_other(group: str) -> None:
    """What one does to rows, the other does to gradients with the matrices turned around: float64 says so, too."""
    counts, k, n = [2, 0, 3], 4, 3
    x = torch.randn(5, k, dtype=torch.float64, requires_grad=True)
    weight, grad = torch.randn(3, k, n), torch.randn(5, n)
    products(x, weight, counts).backward(grad.double())
    dx, sizes = torch.empty(5, k), IntArray(counts)
    call(AFTER, grad, weight, None, None, None, None, group, 1, sizes, sizes, True, False, dx, None)
    near(dx, x.grad)


X, W, Y, SEND = torch.ones(4, 3), torch.ones(2, 3, 2), torch.ones(4, 2), IntArray([1, 3])
MM = (torch.ones(2, 3), torch.ones(3, 5))
# (of which operator, place of the argument, what is wrong there)
WRONG: dict[str, tuple[str, int, Any]] = {
    "gmmX is null": (BEFORE, 0, None),
    "gmmX is int32[4,3], wanted 2 dimensions of float16, bfloat16 or float32": (BEFORE, 0, X.int()),
    "gmmX is float32[4,3,1], wanted 2 dimensions": (AFTER, 0, X[..., None]),
    "gmmX is float32[5,3]": (BEFORE, 0, torch.ones(5, 3)),
    "gmmX is float32[4,1], gmmWeight float32[2,3,2]: they cannot be multiplied": (AFTER, 0, X[:, :1]),
    "gmmWeight is null": (AFTER, 1, None),
    "gmmWeight is float32[3,2], wanted 3 dimensions": (BEFORE, 1, W[0]),
    "gmmWeight is float16[2,3,2], wanted 3 dimensions of the type of gmmX float32[4,3]": (BEFORE, 1, W.half()),
    "gmmWeight is float32[0,3,2]": (BEFORE, 1, W[:0]),
    "sendCountsTensorOptional is given, wanted none": (BEFORE, 2, torch.tensor([1, 3])),
    "recvCountsTensorOptional is given, wanted none": (AFTER, 3, torch.tensor([1, 3])),
    "mmXOptional is null": (BEFORE, 4, None),
    "mmXOptional float32[2,4] and mmWeightOptional float32[3,5] cannot be multiplied": (BEFORE, 4, torch.ones(2, 4)),
    "mmXOptional is float16[2,3], mmWeightOptional float32[3,5], wanted the type": (AFTER, 4, MM[0].half()),
    "mmWeightOptional is null": (AFTER, 5, None),
    "mmWeightOptional float32[3], wanted 2 dimensions": (AFTER, 5, torch.ones(3)),
    "in no communicator called 'nobody'": (BEFORE, 6, "nobody"),
    "group is null": (AFTER, 6, None),
    "epWorldSize is 2, but group": (BEFORE, 7, 2),
    "sendCounts is null": (BEFORE, 8, None),
    "sendCounts has 1 counts, wanted 2: 1 ranks of 2 experts": (BEFORE, 8, IntArray([4])),
    "sendCounts has -1 at 0, wanted a number of rows": (AFTER, 8, IntArray([-1, 5])),
    "sendCounts has 9223372036854775807 at 1": (AFTER, 8, IntArray([1, 2**63 - 1])),
    "sendCounts are 5 rows in all, gmmX is float32[4,3]": (BEFORE, 8, IntArray([2, 3])),
    "sendCounts has 2 and recvCounts 1 at 0, wanted the same: rank 0 keeps them": (BEFORE, 8, IntArray([2, 2])),
    "recvCounts is null": (AFTER, 9, None),
    "recvCounts are 6 rows in all": (AFTER, 9, IntArray([3, 3])),
    "gmmY is null": (BEFORE, 13, None),
    "gmmY is float32[4,3], wanted [4,2] of gmmX's type, contiguous": (BEFORE, 13, torch.ones(4, 3)),
    "gmmY is float16[4,2], wanted [4,2] of gmmX's type": (BEFORE, 13, Y.half()),
    "gmmY is float32[4,2], wanted [4,2] of gmmX's type, contiguous": (BEFORE, 13, torch.ones(2, 4).t()),
    "y is null": (AFTER, 12, None),
    "y is float32[4,3], wanted [4,2]": (AFTER, 12, torch.ones(4, 3)),
    "mmYOptional is null": (BEFORE, 14, None),
    "mmYOptional is float32[2,4], wanted [2,5]": (AFTER, 13, torch.ones(2, 4)),
    "permuteOutOptional is null, but permuteOutFlag is true": (BEFORE, 15, None),
    "permuteOutOptional is float32[4,2], wanted [4,3]": (BEFORE, 15, torch.ones(4, 2)),
}  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_refused(group: str, text: str) -> None:
    name, place, value = WRONG[text]
    start = [X, W, None, None, *MM, group, 1, SEND, SEND, False, False]
    y, mm_y = Y.clone(), torch.ones(2, 5)
    args: list[Any] = [*start, True, y, mm_y, X.clone()] if name == BEFORE else [*start, y, mm_y]
    args[place] = value
    with pytest.raises(OperatorError) as error:
        call(name, *args)
    assert error.value.phase == 1 and text in error.value.text
    assert error.value.text.startswith(f"{name}: ")


def test_refused_together(group: str) -> None:
    square, one = torch.ones(3, 3), torch.ones(1, 3, 3)
    end = (group, 1, IntArray([3]), IntArray([3]), False, False)
    for other in (square, square[1:]):
        with pytest.raises(OperatorError, match="y float32.3,3. shares memory with"):
            call(
                AFTER, square, one, None, None, other, square.clone(), *end, square, torch.ones(len(other), 3)
            )
    with pytest.raises(OperatorError, match="commMode is 'pigeon', wanted ai_cpu, aiv or ccu"):
        call(
            AFTER + "V2",
            square,
            one,
            None,
            None,
            None,
            None,
            group,
            "pigeon",
            *end[1:],
            torch.ones(3, 3),
            None,
        )
