"""aclnnUpsampleNearest2d, Bilinear2d, Bicubic2d and their gradients, with PyTorch in float64 as the reference."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from aclnn import IntArray, OperatorError, call
from conv_cases import DTYPES, assert_linear
from matmul_cases import values

T = torch.Tensor
MODES = {"Nearest": "nearest", "Bilinear": "bilinear", "Bicubic": "bicubic"}
# Shape and size of the output: larger, smaller, the same, twice, one element, mixed.
SIZES = (
    ((2, 3, 7, 9), (11, 23)), ((1, 5, 14, 17), (6, 5)), ((2, 2, 5, 6), (5, 6)), ((1, 2, 5, 6), (10, 12)),
    ((1, 2, 5, 6), (1, 1)), ((1, 1, 1, 1), (4, 3)), ((1, 40, 16, 16), (9, 33)),
)  # fmt: skip


def resize(mode: str, size: tuple[int, ...], corners: bool) -> Callable[[T], T]:
    return lambda x: F.interpolate(x, size, mode=mode, align_corners=corners if mode != "nearest" else None)


def gradient(function: Callable[[T], T], shape: tuple[int, ...]) -> Callable[[T], T]:
    def differentiate(dy: T) -> T:
        x = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
        return torch.autograd.grad(function(x), x, dy)[0]

    return differentiate


def check(actual: T, function: Callable[[T], T], x: T) -> None:
    """Bicubic has negative weights: the sum of absolute terms of x is at most 2 times the largest of them."""
    want = function(x.double())
    total = function(torch.full_like(x, float(x.abs().max()), dtype=torch.float64)).abs()
    unit = torch.finfo(actual.dtype).eps / 2
    error = (actual.double() - want).abs()
    bound = 16 * 2.0**-24 * 3 * total + unit * want.abs() + 1e-7
    assert bool((error <= bound).all()), f"error {error.max().item()}"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("name", ["Bilinear", "Bicubic"])
def test_forward_and_backward(name: str, corners: bool, dtype: torch.dtype) -> None:
    versions = ("Backward", "BackwardV2") if name == "Bilinear" else ("Backward",)
    for shape, size in SIZES:
        function = resize(MODES[name], size, corners)
        x, out = values(shape, dtype), torch.full((*shape[:2], *size), float("nan"), dtype=dtype)
        call(f"aclnnUpsample{name}2d", x, IntArray(size), corners, 0, 0, out)
        check(out, function, x)
        dy = values(tuple(out.shape), dtype, 1)
        for version in versions:
            dx = torch.full_like(x, float("nan"))
            call(f"aclnnUpsample{name}2d{version}", dy, IntArray(size), IntArray(shape), corners, 0, 0, dx)
            check(dx, gradient(function, shape), dy)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_nearest(dtype: torch.dtype) -> None:
    for shape, size in SIZES:
        x, out = values(shape, dtype), torch.full((*shape[:2], *size), float("nan"), dtype=dtype)
        call("aclnnUpsampleNearest2d", x, IntArray(size), out)
        assert torch.equal(out, F.interpolate(x, size))
        out.fill_(float("nan"))
        call("aclnnUpsampleNearest2dV2", x, IntArray(size), -1, -1, out)
        assert torch.equal(out, F.interpolate(x, size))
        dy, dx = values(tuple(out.shape), dtype, 1), torch.full_like(x, float("nan"))
        call("aclnnUpsampleNearest2dBackward", dy, IntArray(size), IntArray(shape), 0, 0, dx)
        assert_linear(dx, gradient(lambda t, s=size: F.interpolate(t, s), shape), dy)


def test_scales_of_the_caller() -> None:
    x = values((1, 2, 6, 7), torch.float32)
    for name, mode in MODES.items():
        corners = None if mode == "nearest" else False
        want = F.interpolate(x.double(), scale_factor=(1.7, 2.3), mode=mode, align_corners=corners)
        out, size = torch.empty(want.shape), IntArray(want.shape[2:])
        if mode == "nearest":
            call("aclnnUpsampleNearest2dV2", x, size, 1.7, 2.3, out)
        else:
            call(f"aclnnUpsample{name}2d", x, size, False, 1.7, 2.3, out)
        torch.testing.assert_close(out.double(), want, rtol=1e-5, atol=1e-5)


def test_strided_overlapping_and_empty() -> None:
    x = values((2, 8, 9, 3), torch.float32).movedim(-1, 1)
    out = torch.empty(2, 4, 5, 3).movedim(-1, 1)
    call("aclnnUpsampleBilinear2d", x, IntArray((4, 5)), False, 0, 0, out)
    check(out, resize("bilinear", (4, 5), False), x)
    same = x.contiguous()
    call("aclnnUpsampleBicubic2d", same, IntArray((8, 9)), True, 0, 0, same)
    check(same, resize("bicubic", (8, 9), True), x)
    call("aclnnUpsampleBilinear2d", x[:0], IntArray((4, 5)), False, 0, 0, out[:0])


def test_not_a_number_counts_where_it_is_met() -> None:
    x, out = torch.ones(1, 1, 3, 3), torch.empty(1, 1, 6, 6)
    x[0, 0, 1, 1] = float("nan")
    call("aclnnUpsampleBilinear2d", x, IntArray((6, 6)), False, 0, 0, out)
    assert torch.equal(out.isnan(), F.interpolate(x, (6, 6), mode="bilinear").isnan())


X = torch.ones(1, 2, 3, 4)
BAD = [
    ((None, IntArray((5, 6)), False, 0, 0, torch.ones(1, 2, 5, 6)), "self is null"),
    ((X[0], IntArray((5, 6)), False, 0, 0, torch.ones(1, 2, 5, 6)), "self is float32[2,3,4], wanted 4 dimensions"),
    ((X.int(), IntArray((5, 6)), False, 0, 0, torch.ones(1, 2, 5, 6)), "self is int32[1,2,3,4], wanted float32"),
    ((X, IntArray((5, 7)), False, 0, 0, torch.ones(1, 2, 5, 6)), "wanted 7 for dimension 3 as in outputSize"),
    ((X, IntArray((5,)), False, 0, 0, torch.ones(1, 2, 5, 6)), "outputSize has 1 values, wanted 2"),
    ((X, None, False, 0, 0, torch.ones(1, 2, 5, 6)), "outputSize is null"),
    ((X, IntArray((5, 6)), False, 0, 0, torch.ones(1, 3, 5, 6)), "wanted the same images and channels"),
    ((X[:, :, :0], IntArray((5, 6)), False, 0, 0, torch.ones(1, 2, 5, 6)), "wanted images of 1 to 2^31 - 1 rows"),
]  # fmt: skip


@pytest.mark.parametrize(("args", "text"), BAD, ids=[b[1] for b in BAD])
def test_bad_input(args: tuple, text: str) -> None:
    with pytest.raises(OperatorError) as error:
        call("aclnnUpsampleBilinear2d", *args)
    assert "aclnnUpsampleBilinear2d" in error.value.text
    assert text in error.value.text


def test_bad_input_of_the_gradient() -> None:
    sizes = IntArray((5, 6)), IntArray((1, 2, 3, 5))
    with pytest.raises(OperatorError, match="wanted 5 for dimension 3 as in inputSize"):
        call("aclnnUpsampleBicubic2dBackward", torch.ones(1, 2, 5, 6), *sizes, False, 0, 0, X)
