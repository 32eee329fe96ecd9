# SPDX-License-Identifier: Apache-2.0
"""aclnnAvgPool2d, AvgPool3d, AdaptiveAvgPool2d, AdaptiveAvgPool3d and their gradients, with PyTorch in float64 as the
reference."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from aclnn import IntArray, OperatorError, call
from conv_cases import assert_linear
from matmul_cases import values

T = torch.Tensor
Sizes = tuple[int, ...]
FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
POOL = {2: F.avg_pool2d, 3: F.avg_pool3d}
ADAPTIVE = {2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    x: Sizes
    kernel: Sizes
    stride: Sizes = ()
    pad: Sizes = (0,)
    ceil: bool = False
    count_pad: bool = True
    divisor: int | None = None

    @property
    def dims(self) -> int:
        return 3 if len(self.x) == 5 or len(self.kernel) == 3 else 2

    def arguments(self) -> tuple:
        lists = map(IntArray, (self.kernel, self.stride, self.pad))
        last = (0,) if self.dims == 2 else ()
        return (*lists, self.ceil, self.count_pad, self.divisor or 0, *last)

    def run(self, x: T) -> T:
        stride = self.stride or self.kernel
        return POOL[self.dims](x, self.kernel, stride, self.pad, self.ceil, self.count_pad, self.divisor)

    def gradient(self, dy: T) -> T:
        x = torch.zeros(self.x, dtype=torch.float64, requires_grad=True)
        return torch.autograd.grad(self.run(x), x, dy)[0]


CASES = (
    Case(x=(2, 3, 8, 10), kernel=(2, 2)),
    Case(x=(3, 7, 9), kernel=(3, 3), stride=(2, 2), pad=(1, 1)),
    Case(x=(3, 7, 9), kernel=(3, 3), stride=(2, 2), pad=(1, 1), count_pad=False),
    Case(x=(2, 4, 11, 13), kernel=(3, 2), stride=(2, 3), pad=(1, 0), ceil=True),
    Case(x=(2, 4, 11, 13), kernel=(3, 2), stride=(2, 3), pad=(1, 1), ceil=True, count_pad=False),
    Case(x=(1, 2, 7, 8), kernel=(3, 3), stride=(2, 2), pad=(1, 1), ceil=True, divisor=5),
    Case(x=(1, 2, 7, 8), kernel=(4,), stride=(3,), pad=(2,), divisor=2),
    Case(x=(1, 1, 1, 1), kernel=(1, 1)),
    Case(x=(2, 40, 33, 65), kernel=(5, 4), stride=(1, 1), pad=(2, 2)),
    Case(x=(1, 3, 56, 57), kernel=(56, 57)),
    Case(x=(2, 3, 4, 6, 8), kernel=(2, 2, 2)),
    Case(x=(3, 5, 7, 9), kernel=(3, 2, 3), stride=(2, 1, 2), pad=(1, 1, 1), ceil=True, count_pad=False),
    Case(x=(1, 2, 7, 8, 9), kernel=(2, 3, 2), stride=(1, 2, 3), pad=(0, 1, 1), ceil=True),
    Case(x=(1, 2, 4, 5, 6), kernel=(2,), stride=(1,), pad=(1,), divisor=3),
)
SIZES = (
    ((2, 3, 7, 9), (3, 4)), ((3, 8, 8), (8, 8)), ((1, 2, 5, 6), (11, 13)), ((2, 2, 30, 41), (1, 1)),
    ((2, 3, 5, 7, 9), (2, 3, 4)), ((2, 4, 5, 6), (4, 7, 1)),
)  # fmt: skip


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward_and_backward(case: Case, dtype: torch.dtype) -> None:
    x = values(case.x, dtype)
    y = torch.full(case.run(x.double()).shape, float("nan"), dtype=dtype)
    call(f"aclnnAvgPool{case.dims}d", x, *case.arguments(), y)
    assert_linear(y, case.run, x)
    dy, dx = values(tuple(y.shape), dtype, 1), torch.full_like(x, float("nan"))
    call(f"aclnnAvgPool{case.dims}dBackward", dy, x, *case.arguments(), dx)
    assert_linear(dx, case.gradient, dy)


@pytest.mark.parametrize("case", (*CASES[:6], Case(x=(1, 2, 7, 8), kernel=(4,), divisor=-2)), ids=str)
def test_integers(case: Case) -> None:
    x = values(case.x, torch.int64)
    want = case.run(x)
    y = torch.full_like(want, 77)
    call("aclnnAvgPool2d", x, *case.arguments(), y)
    assert torch.equal(y, want)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize(("shape", "size"), SIZES, ids=str)
def test_adaptive(shape: Sizes, size: Sizes, dtype: torch.dtype) -> None:
    pool = ADAPTIVE[len(size)]

    def gradient(dy: T) -> T:
        x = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
        return torch.autograd.grad(pool(x, size), x, dy)[0]

    x = values(shape, dtype)
    y = torch.full(pool(x.double(), size).shape, float("nan"), dtype=dtype)
    call(f"aclnnAdaptiveAvgPool{len(size)}d", x, IntArray(size), y)
    assert_linear(y, lambda t: pool(t, size), x)
    dy, dx = values(tuple(y.shape), dtype, 1), torch.full_like(x, float("nan"))
    call(f"aclnnAdaptiveAvgPool{len(size)}dBackward", dy, x, dx)
    assert_linear(dx, gradient, dy)


def test_nothing_to_compute() -> None:
    x = values((2, 3, 6, 6), torch.float32)
    call("aclnnAdaptiveAvgPool2d", x, IntArray((0, 4)), torch.empty(2, 3, 0, 4))
    dx = torch.full_like(x, float("nan"))
    call("aclnnAdaptiveAvgPool2dBackward", torch.empty(2, 3, 0, 4), x, dx)
    assert torch.equal(dx, torch.zeros_like(x))
    call("aclnnAdaptiveAvgPool2d", x[:0], IntArray((2, 2)), torch.empty(0, 3, 2, 2))


def test_channels_last_and_overlapping() -> None:
    case = Case(x=(2, 5, 7, 9), kernel=(3, 3), stride=(1, 1), pad=(1, 1))
    x = values((2, 7, 9, 5), torch.float32).movedim(-1, 1)
    y = torch.empty_like(x, memory_format=torch.channels_last)
    call("aclnnAvgPool2d", x, *case.arguments(), y)
    assert_linear(y, case.run, x)
    same = x.contiguous()
    call("aclnnAvgPool2d", same, *case.arguments(), same)
    assert_linear(same, case.run, x)
    same = x.contiguous()
    call("aclnnAvgPool2dBackward", same, x, *case.arguments(), same)
    assert_linear(same, case.gradient, x)


def test_not_a_number_and_infinity_stay_in_their_windows() -> None:
    case = CASES[1]
    x = values(case.x, torch.float32)
    x[1, 3, 4], x[2, 0, 8], x[0, 6, 0] = float("nan"), float("inf"), -float("inf")
    y = torch.empty(case.run(x).shape)
    call("aclnnAvgPool2d", x, *case.arguments(), y)
    torch.testing.assert_close(y, case.run(x), equal_nan=True)


X, Y = torch.ones(1, 2, 5, 6), torch.empty(1, 2, 2, 2)
K, S, P = (IntArray(v) for v in ((2, 3), (2, 2), (0, 0)))
BAD = [
    ((X, K, S, P, False, True, 0, 0, None), "out is null"),
    ((X, K, IntArray((1, 2, 3)), P, False, True, 0, 0, Y), "strides has 3 values, wanted 1 or 2"),
    (
        (X, K, S, IntArray((0, 2)), False, True, 0, 0, Y),
        "paddings[1] is 2, wanted at most half of the kernel",
    ),
    ((X.cfloat(), K, S, P, False, True, 0, 0, Y.cfloat()), "wanted a type of real numbers"),
    ((X, K, S, P, True, True, 0, 0, Y), "out is float32[1,2,2,2], wanted float32[1,2,3,3] for self"),
]


@pytest.mark.parametrize(("args", "text"), BAD, ids=[b[1] for b in BAD])
def test_bad_input(args: tuple, text: str) -> None:
    with pytest.raises(OperatorError) as error:
        call("aclnnAvgPool2d", *args)
    assert "aclnnAvgPool2d" in error.value.text
    assert text in error.value.text


def test_bad_input_of_other_forms() -> None:
    with pytest.raises(
        OperatorError, match=r"gradOutput is float32\[1,2,2,2\], wanted float32\[1,2,3,3\] for self"
    ):
        call("aclnnAvgPool2dBackward", Y, X, K, S, P, True, True, 0, 0, X.clone())
    with pytest.raises(OperatorError, match="wanted floating point"):
        call("aclnnAdaptiveAvgPool2dBackward", Y.int(), X.int(), X.int())
    with pytest.raises(OperatorError, match="gradOutput .* wanted as many dimensions"):
        call("aclnnAdaptiveAvgPool2dBackward", Y[0], X, X.clone())
