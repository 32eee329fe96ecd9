# SPDX-License-Identifier: Apache-2.0
"""Products fused with collectives, in a group of one rank: what is computed, and what is refused. Groups of several:
tests/python/test_distributed.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from aclnn import IntArray, OperatorError, call

FLOATS = (torch.float32, torch.float16, torch.bfloat16)
# (rounding of the result; sums of 40 products)
TOLERANCE = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
SUM, ON_FAILURE = "sum", 1


def operands(dtype: torch.dtype, m: int = 6, k: int = 40, n: int = 5) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(m + k + n)
    return tuple(torch.randn(shape).to(dtype) for shape in ((m, k), (k, n), (n,), (m, n)))


def near(got: torch.Tensor, want: torch.Tensor, dtype: torch.dtype) -> None:
    assert got.dtype is dtype
    torch.testing.assert_close(got.double(), want, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * 4)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(6, 40, 5), (1, 1, 1), (3, 0, 4), (0, 4, 3)])
def test_gathered(group: str, dtype: torch.dtype, shape: tuple[int, int, int]) -> None:
    x1, x2, bias, _ = operands(dtype, *shape)
    want = x1.double() @ x2.double() + bias.double()
    for first in (x1, x1.t().contiguous().t()):
        out, gathered = torch.empty(want.shape, dtype=dtype), torch.empty(x1.shape, dtype=dtype)
        call("aclnnAllGatherMatmul", first, x2, bias, group, 0, 0, ON_FAILURE, out, gathered)
        near(out, want, dtype)
        assert torch.equal(gathered, x1)
        again = torch.empty_like(out)
        more = (None, None, None, 0, group, 0, 0, ON_FAILURE, 0, "aiv")
        call("aclnnAllGatherMatmulV2", first, x2, bias, *more, again, torch.empty(0, dtype=dtype), None)
        assert torch.equal(again, out)


@pytest.mark.parametrize("dtype", FLOATS)
def test_scattered(group: str, dtype: torch.dtype) -> None:
    x1, x2, bias, _ = operands(dtype)
    want = x1.double() @ x2.double() + bias.double()
    out, again = torch.empty(want.shape, dtype=dtype), torch.empty(want.shape, dtype=dtype)
    call("aclnnMatmulReduceScatter", x1, x2, bias, group, SUM, 0, ON_FAILURE, out)
    near(out, want, dtype)
    more = (None, None, None, 0, group, SUM, 0, ON_FAILURE, 0, "ai_cpu")
    call("aclnnMatmulReduceScatterV2", x1, x2, bias, *more, again, None)
    assert torch.equal(again, out)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(6, 40, 5), (1, 1, 1), (3, 0, 4), (0, 4, 3)])
def test_exchanged(group: str, dtype: torch.dtype, shape: tuple[int, int, int]) -> None:
    x1, x2, bias, _ = operands(dtype, *shape)
    want = x1.double() @ x2.double() + bias.double()
    out, moved = torch.full(want.shape, 7, dtype=dtype), torch.full(x1.shape, 7, dtype=dtype)
    call("aclnnAlltoAllMatmul", x1, x2, bias, IntArray([-2, -1]), group, False, False, out, moved)
    near(out, want, dtype)
    assert torch.equal(moved, x1)
    for second, transposed in ((x2, False), (x2.t().contiguous(), True)):
        again = torch.full(want.shape, 7, dtype=dtype)
        call("aclnnAlltoAllMatmulV2", x1, second, bias, None, group, "aiv", False, transposed, again, None)
        near(again, want, dtype)
        again = torch.full(want.shape, 7, dtype=dtype)
        call("aclnnMatmulAlltoAll", x1, second, bias, IntArray([-1, -2]), group, False, transposed, again)
        near(again, want, dtype)
        call("aclnnMatmulAlltoAllV2", x1, second, bias, None, group, "ccu", False, transposed, again)
        near(again, want, dtype)


def test_exchanges_refused(group: str) -> None:
    for at, bad, text in (
        (0, X.view(4, 3, 1), "x1 is"),
        (1, torch.ones(2, 2), "cannot be multiplied"),
        (3, IntArray([-1, -2]), "alltoAllAxesOptional is given, wanted [-2,-1]"),
        (4, "nobody", "in no communicator called 'nobody'"),
        (5, True, "transposeX1 is true"),
        (7, torch.ones(4, 3), "output is"),
        (7, OUT.t().contiguous().t(), "not contiguous"),
        (8, torch.ones(4, 2), "alltoAllOutOptional is"),
    ):
        good = [X, W, None, None, group, False, False, OUT.clone(), None]
        with pytest.raises(OperatorError, match="aclnnAlltoAllMatmul: ") as e:
            call("aclnnAlltoAllMatmul", *good[:at], bad, *good[at + 1 :])
        assert text in e.value.text


@pytest.mark.parametrize("dtype", FLOATS)
def test_summed(group: str, dtype: torch.dtype) -> None:
    x1, x2, bias, x3 = operands(dtype)
    product = x1.double() @ x2.double()
    out = torch.empty(x3.shape, dtype=dtype)
    call("aclnnMatmulAllReduce", x1, x2, None, group, SUM, 0, ON_FAILURE, out)
    near(out, product, dtype)
    want = product + bias.double() + x3.double()
    call("aclnnMatmulAllReduceV2", x1, x2, bias, x3, group, SUM, 0, ON_FAILURE, out)
    near(out, want, dtype)
    deep = torch.empty(2, 3, 5, dtype=dtype)
    more = (group, SUM, "ccu", 0, ON_FAILURE, deep)
    call("aclnnMatmulAllReduceV3", x1.view(2, 3, 40), x2, bias, x3.view(2, 3, 5), *more)
    near(deep.view(6, 5), want, dtype)


@pytest.mark.parametrize("dtype", FLOATS)
def test_int8(group: str, dtype: torch.dtype) -> None:
    x1, x2, _, _ = (t.mul(50).to(torch.int8) for t in operands(torch.float32))
    x3 = operands(dtype)[3]
    bias, scale, rows = torch.arange(5, dtype=torch.int32), torch.rand(5) / 2**12, torch.rand(6)
    product, out = x1.double() @ x2.double() + bias, torch.empty(6, 5, dtype=dtype)
    call("aclnnQuantMatmulAllReduce", x1, x2, bias, None, scale, group, SUM, 0, ON_FAILURE, out)
    near(out, product * scale, dtype)
    one = scale[:1]
    call("aclnnQuantMatmulAllReduceV2", x1, x2, bias, x3, one, rows, group, SUM, 0, ON_FAILURE, out)
    near(out, product * one * rows[:, None] + x3.double(), dtype)


def test_sums_of_int8_are_exact(group: str) -> None:
    """Beyond 2^24, where float32 has gaps: a bias of int32 takes all but a few of it away."""
    x1, x2 = torch.full((3, 4000), 127, dtype=torch.int8), torch.full((4000, 300), 127, dtype=torch.int8)
    x2[0, ::2] = 126
    bias = torch.full((300,), 3 - 127 * 127 * 4000, dtype=torch.int32)
    out = torch.empty(3, 300)
    call("aclnnQuantMatmulAllReduce", x1, x2, bias, None, torch.ones(1), group, SUM, 0, ON_FAILURE, out)
    want = torch.full((3, 300), 3.0)
    want[:, ::2] -= 127
    assert torch.equal(out, want)
    call(
        "aclnnQuantMatmulAllReduce",
        x1,
        x2.t().contiguous().t(),
        bias,
        None,
        torch.ones(1),
        group,
        SUM,
        0,
        ON_FAILURE,
        out,
    )
    assert torch.equal(out, want)


@pytest.mark.parametrize("dtype", [torch.uint64, torch.int64])
def test_packed_scales(group: str, dtype: torch.dtype) -> None:
    """As aclnnTransQuantParam makes them: a float32 of few bits, a mark, and an offset, which counts for int8 results only."""
    x1, x2, _, _ = (t.mul(50).to(torch.int8) for t in operands(torch.float32))
    scale = torch.tensor([0.5, 0.25, 2.0, 1.0, 0.125])
    packed = (scale.view(torch.int32).long() | 1 << 46 | 5 << 37).view(dtype)
    out = torch.empty(6, 5, dtype=torch.float16)
    call("aclnnQuantMatmulAllReduce", x1, x2, None, None, packed, group, SUM, 0, ON_FAILURE, out)
    near(out, x1.double() @ x2.double() * scale, torch.float16)


X, W, OUT = torch.ones(4, 3), torch.ones(3, 2), torch.ones(4, 2)
WRONG: dict[str, tuple[int, Any]] = {
    "x1, x2 or output is null": (1, None),
    "x2 is float32[3,2,1], wanted 2 dimensions": (1, W.view(3, 2, 1)),
    "cannot be multiplied: 3 columns, 2 rows": (1, torch.ones(2, 2)),
    "wanted one type": (1, W.half()),
    "bias is float32[3], wanted 2 elements": (2, torch.ones(3)),
    "in no communicator called 'nobody'": (3, "nobody"),
    "group is null": (3, None),
    "reduceOp is 'max', wanted sum": (4, "max"),
    "commTurn is 2, wanted 0": (5, 2),
    "streamMode is 0, wanted 1": (6, 0),
    "output is float32[2,2], wanted [4,2]": (7, OUT[:2]),
    "output float32[4,2] is not contiguous": (7, OUT.t().contiguous().t()),
    "output is int32[4,2], wanted float16, bfloat16 or float32": (7, OUT.int()),
}


@pytest.mark.parametrize("text", WRONG)
def test_refused(group: str, text: str) -> None:
    args: list[Any] = [X, W, None, group, SUM, 0, ON_FAILURE, OUT]
    place, value = WRONG[text]
    args[place] = value
    with pytest.raises(OperatorError) as error:
        call("aclnnMatmulReduceScatter", *args)
    assert error.value.phase == 1 and text in error.value.text
    assert error.value.text.startswith("aclnnMatmulReduceScatter: ")


def test_refused_scales_and_overlaps(group: str) -> None:
    end = (0, 0, ON_FAILURE, 0, "aiv", OUT, torch.empty(0), None)
    with pytest.raises(OperatorError, match="scales are given"):
        call("aclnnAllGatherMatmulV2", X, W, None, torch.ones(4), None, None, 0, group, *end)
    with pytest.raises(OperatorError, match="commMode is 'pigeon'"):
        call("aclnnMatmulAllReduceV3", X, W, None, None, group, SUM, "pigeon", 0, ON_FAILURE, OUT)
    with pytest.raises(OperatorError, match="gatherIndex is 1"):
        call("aclnnAllGatherMatmul", X, W, None, group, 1, 0, ON_FAILURE, OUT, torch.empty(0))
    square = torch.ones(3, 3)
    with pytest.raises(OperatorError, match="shares memory"):
        call("aclnnMatmulAllReduce", square, square.clone(), None, group, SUM, 0, ON_FAILURE, square)
    with pytest.raises(OperatorError, match="dequantScale is null"):
        call("aclnnQuantMatmulAllReduce", X, W, None, None, None, group, SUM, 0, ON_FAILURE, OUT)
