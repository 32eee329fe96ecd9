"""aclnnArange, Range, Linspace, Triu, Tril, Eye, ConstantPadNd, Flip, Roll, Repeat."""

from __future__ import annotations

import pytest
import torch
from aclnn import IntArray, OperatorError, Scalar, call
from compare import COMPLEX, FLOATS, INTS, assert_close, layouts, make

ALL = (*FLOATS, *INTS, torch.bool, *COMPLEX)


@pytest.mark.parametrize("dtype", [*FLOATS, *INTS])
@pytest.mark.filterwarnings("ignore:torch.range")
def test_sequences(dtype: torch.dtype) -> None:
    for start, end, step in ((0, 0, 1), (0, 1, 1), (3, 100, 7), (100, -27, -3), (-5, 5, 1), (0, 120, 1)):
        if dtype == torch.uint8 and min(start, end) < 0:
            continue
        expected = torch.arange(start, end, step, dtype=torch.int64)
        out = torch.empty(expected.shape, dtype=dtype)
        call("aclnnArange", Scalar(start), Scalar(end), Scalar(step), out)
        assert torch.equal(out, expected.to(dtype))
        inclusive = torch.range(start, end, step, dtype=torch.float64)
        out = torch.empty((*inclusive.shape, 2), dtype=dtype)[:, 1]
        call("aclnnRange", Scalar(start), Scalar(end), Scalar(step), out)
        assert torch.equal(out, inclusive.to(dtype))
    if dtype.is_floating_point:
        out = torch.empty(1000, dtype=dtype)
        call("aclnnArange", Scalar(-1.5), Scalar(1.5), Scalar(0.003), out)
        assert_close(out, torch.arange(1000, dtype=torch.float64) * 0.003 - 1.5, max_ulp=0.5)
    for n in (0, 1, 2, 5, 1025):
        out = torch.empty(n, dtype=dtype)
        call("aclnnLinspace", Scalar(0.5), Scalar(100.25), n, out)
        assert_close(out, torch.linspace(0.5, 100.25, n, dtype=torch.float64).to(dtype), max_ulp=0.5)


def test_large_integers_are_exact() -> None:
    start = 2**60 + 1
    out = torch.empty(100_000, dtype=torch.int64)
    call("aclnnArange", Scalar(start), Scalar(start + 300_000), Scalar(3), out)
    assert torch.equal(out, torch.arange(start, start + 300_000, 3))


@pytest.mark.parametrize("dtype", ALL)
def test_triangles(dtype: torch.dtype) -> None:
    for shape in ((5, 5), (3, 7), (7, 3), (2, 3, 4, 5), (0, 3), (2, 3, 0), (300, 301)):
        for diagonal in (-4,) if shape == (300, 301) else (0, 1, -4, -400, 2**62):
            for _, x in layouts(make(shape, dtype)):
                for name, reference in (("Triu", torch.triu), ("Tril", torch.tril)):
                    expected = reference(x.contiguous(), min(diagonal, 10**6))
                    out = torch.empty(shape, dtype=dtype)
                    call(f"aclnn{name}", x, diagonal, out)
                    assert torch.equal(out, expected)
                    inplace = x.clone(memory_format=torch.preserve_format)
                    call(f"aclnnInplace{name}", inplace, diagonal)
                    assert torch.equal(inplace, expected)


@pytest.mark.parametrize("dtype", ALL)
def test_eye(dtype: torch.dtype) -> None:
    for n, m in ((0, 0), (1, 1), (5, 3), (3, 5), (70, 70)):
        out = torch.empty(m, n, dtype=dtype).t()
        call("aclnnEye", n, m, out)
        assert torch.equal(out, torch.eye(n, m, dtype=dtype))


@pytest.mark.parametrize("dtype", ALL)
def test_constant_pad(dtype: torch.dtype) -> None:
    x = make((3, 5, 7), dtype)
    for pad in ((1, 2), (0, 0, 2, 0), (1, 2, 3, 4, 5, 6), (-1, -2), (-1, 3, 0, -2), (-3, -4, 1, 1), ()):
        for _, view in layouts(x):
            expected = torch.nn.functional.pad(view, pad, value=3) if pad else x
            out = torch.empty(expected.shape, dtype=dtype)
            call("aclnnConstantPadNd", view, IntArray(list(pad)), Scalar(3), out)
            assert torch.equal(out, expected)


@pytest.mark.parametrize("dtype", ALL)
def test_flip_roll_repeat(dtype: torch.dtype) -> None:
    x = make((4, 5, 67), dtype)
    for _, view in layouts(x):
        for dims in ((), (0,), (2,), (0, 1), (-1, 0, 1)):
            out = torch.empty_like(x)
            call("aclnnFlip", view, IntArray(list(dims)), out)
            assert torch.equal(out, torch.flip(x, dims))
        for shifts, dims in (
            ((3,), ()),
            ((-1,), (0,)),
            ((7, -2), (1, 2)),
            ((5, 5, 5), (0, 1, -1)),
            ((1, 2), (0, 0)),
            ((0,), (1,)),
        ):
            out = torch.empty_like(x)
            call("aclnnRoll", view, IntArray(list(shifts)), IntArray(list(dims)), out)
            assert torch.equal(out, torch.roll(x, shifts, dims))
        for repeats in ((1, 1, 1), (2, 1, 3), (3, 2, 1, 1), (0, 1, 1), (2, 2, 2, 2)):
            expected = view.repeat(repeats)
            out = torch.empty_like(expected)
            call("aclnnRepeat", view, IntArray(list(repeats)), out)
            assert torch.equal(out, expected)
    scalar = make((), dtype)
    out = torch.empty(3, 2, dtype=dtype)
    call("aclnnRepeat", scalar, IntArray([3, 2]), out)
    assert torch.equal(out, scalar.repeat(3, 2))
    empty = torch.empty(0, 3, dtype=dtype)
    call("aclnnFlip", empty, IntArray([0]), empty)
    call("aclnnRoll", empty, IntArray([2]), IntArray([1]), empty)


def test_bad_input_is_named() -> None:
    x = torch.ones(2, 3)
    for name, args, text in (
        ("aclnnArange", (Scalar(0), Scalar(3), Scalar(0), torch.empty(3)), "step is zero"),
        ("aclnnTriu", (torch.ones(3), 0, torch.empty(3)), r"self is float32\[3\]"),
        ("aclnnEye", (2, 3, torch.empty(3, 2)), r"out is float32\[3,2\], wanted shape \[2,3\]"),
        ("aclnnConstantPadNd", (x, IntArray([1]), Scalar(0), x), "pad has 1 numbers"),
        ("aclnnConstantPadNd", (x, IntArray([1, 1]), Scalar(0), x), "padded by 1 and 1 in dimension 1"),
        ("aclnnFlip", (x, IntArray([2]), x.clone()), r"dims is 2"),
        ("aclnnFlip", (x, IntArray([0, -2]), x.clone()), r"dims\[1\] is -2 again"),
        ("aclnnRoll", (x, IntArray([1, 2]), IntArray([0]), x.clone()), "2 shifts for 1 dims"),
        ("aclnnRepeat", (x, IntArray([2]), torch.empty(4, 3)), "1 repeats"),
        ("aclnnRepeat", (x, IntArray([2, 2]), torch.empty(4, 3)), r"repeats\[1\] is 2"),
        ("aclnnLinspace", (Scalar(0), Scalar(1), 3, torch.empty(4)), "steps is 3"),
    ):
        with pytest.raises(OperatorError, match=f"{name}: .*{text}"):
            call(name, *args)
