"""aclnnCast, aclnnInplaceCopy, fills: every pair of dtypes, every layout, overlap."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import pytest
import torch
from aclnn import IntArray, OperatorError, Scalar, call
from compare import COMPLEX, FLOATS, INTS, SHAPES, assert_close, layouts, make, special_values
from hypothesis import given, settings

ALL = (*FLOATS, *INTS, torch.bool, *COMPLEX)


def bits(t: torch.Tensor) -> torch.Tensor:
    return t.contiguous().view(torch.uint8) if t.dim() else t.reshape(1).view(torch.uint8)


@pytest.mark.filterwarnings("ignore:Casting complex")
@pytest.mark.parametrize("source", ALL)
def test_every_pair_of_dtypes(source: torch.dtype) -> None:
    x = make((13, 37), source)
    for target in ALL:
        expected = x.to(target)
        for _, view in layouts(x):
            out = torch.empty((13, 37), dtype=target)
            call("aclnnCast", view, target, out)
            assert_close(out, expected, max_ulp=0)
            turned = torch.empty((37, 13), dtype=target).t()
            call("aclnnInplaceCopy", turned, view)
            assert_close(turned, expected, max_ulp=0)


@pytest.mark.parametrize("dtype", FLOATS)
def test_special_values_round_as_in_pytorch(dtype: torch.dtype) -> None:
    x = torch.cat(
        [
            special_values(dtype),
            make((999,), dtype, low=-1e-7, high=1e-7),
            make((999,), dtype, low=-7e4, high=7e4),
        ]
    )
    for target in FLOATS:
        out = torch.empty(x.shape, dtype=target)
        call("aclnnCast", x, target, out)
        expected = x.to(target)
        assert torch.equal(out.isnan(), expected.isnan())
        keep = ~expected.isnan()
        assert torch.equal(bits(out[keep]), bits(expected[keep]))


def test_floats_of_every_kind_round_to_bfloat16() -> None:
    """Halves between neighbours, both sides of them, NaN of any payload; every length of what is left over."""
    high = torch.arange(0, 2**16, 3, dtype=torch.int64)
    low = torch.tensor([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF])
    x = ((high << 16)[:, None] + low).reshape(-1).to(torch.int32).view(torch.float32)
    for n in (x.numel(), *range(1, 70)):
        out = torch.full((n + 1,), 7.0, dtype=torch.bfloat16)
        call("aclnnCast", x[-n:], torch.bfloat16, out[:n])
        expected = x[-n:].to(torch.bfloat16)
        keep = ~expected.isnan()
        assert torch.equal(out[:n].isnan(), ~keep)
        assert torch.equal(bits(out[:n][keep]), bits(expected[keep]))
        assert out[n] == 7


@pytest.mark.parametrize("source", (torch.float32, torch.bfloat16, torch.int32))
def test_results_beyond_the_caches(source: torch.dtype) -> None:
    """Such are written past them: copies, and conversions of each kind."""
    x = torch.linspace(-300, 300, 36 * 2**20 // 2 + 5).to(source)
    for target in (source, torch.float32, torch.bfloat16):
        out = torch.empty(x.shape, dtype=target)
        call("aclnnInplaceCopy", out, x)
        assert torch.equal(out, x.to(target))


@pytest.mark.parametrize("shape", ((2, 70, 5, 160), (3, 100, 64, 9), (1, 70, 70, 300)))
@pytest.mark.parametrize("dtype", (torch.bfloat16, torch.float32))
def test_heads_to_the_front_and_back(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    x = make(shape, dtype)
    for source in (x.transpose(1, 2), x.transpose(0, 1), x.permute(2, 0, 1, 3)):
        for target in (dtype, torch.float32):
            out = torch.empty(source.shape, dtype=target)
            call("aclnnInplaceCopy", out, source)
            assert torch.equal(out, source.to(target))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bfloat16, torch.float32, torch.int64, torch.complex128])
def test_reversed_rows(dtype: torch.dtype) -> None:
    for n in (1, 7, 64, 257):
        x = make((3, n), dtype)
        out = torch.empty_like(x)
        call("aclnnFlip", x, IntArray([1]), out)
        assert torch.equal(out, x.flip(1))


def test_same_dtype_keeps_the_bits_of_nan() -> None:
    x = (
        torch.tensor([0x7FC1, 0x7F81, 0xFFFF, 0x8000, 1], dtype=torch.int32)
        .to(torch.uint16)
        .view(torch.bfloat16)
    )
    out = torch.empty_like(x)
    call("aclnnInplaceCopy", out, x)
    assert torch.equal(bits(out), bits(x))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bfloat16, torch.float32, torch.int64, torch.complex128])
@pytest.mark.parametrize(
    "shape", [(300, 517), (5, 64, 129), (2, 3, 70, 33), (4097, 3), (3, 4097), (2, 9, 8, 65)]
)
def test_transposed_copies(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    for a in range(len(shape)):
        for b in range(a):
            x = make(shape, dtype).transpose(a, b)
            out = torch.empty(x.shape, dtype=dtype)
            call("aclnnInplaceCopy", out, x)
            assert torch.equal(out, x)
            back = torch.empty(shape, dtype=dtype)
            call("aclnnInplaceCopy", back.transpose(a, b), out)
            assert torch.equal(back, x.transpose(a, b))


@pytest.mark.parametrize("dtype", ALL)
def test_shapes_and_broadcast(dtype: torch.dtype) -> None:
    for shape in SHAPES:
        x = make(shape, dtype)
        out = torch.empty((2, *shape), dtype=dtype)
        call("aclnnInplaceCopy", out, x)
        assert torch.equal(out, x.expand(2, *shape))
    out = torch.empty((300, 70), dtype=dtype)
    call("aclnnInplaceCopy", out, make((300, 1), dtype))
    assert torch.equal(out, make((300, 1), dtype).expand(300, 70))


def test_overlap_reads_the_old_values() -> None:
    storage = torch.arange(200_000.0)
    expected = storage[:-3].clone()
    call("aclnnInplaceCopy", storage[3:], storage[:-3])
    assert torch.equal(storage[3:], expected)
    square = torch.arange(90_000.0).reshape(300, 300)
    expected = square.t().clone()
    call("aclnnInplaceCopy", square, square.t())
    assert torch.equal(square, expected)


@st.composite
def strided(draw: st.DrawFn) -> torch.Tensor:
    shape = draw(st.lists(st.integers(1, 9), min_size=1, max_size=5))
    steps = [draw(st.integers(1, 3)) for _ in shape]
    dtype = draw(st.sampled_from([torch.int64, torch.float32, torch.bfloat16, torch.uint8]))
    full = [s * k for s, k in zip(shape, steps, strict=True)]
    wide = torch.arange(math.prod(full)).remainder(251).to(dtype).reshape(full)
    view = wide[tuple(slice(draw(st.integers(0, k - 1)), None, k) for k in steps)]
    return view.permute(draw(st.permutations(range(len(shape)))))


@given(strided())
@settings(max_examples=150, deadline=None)
def test_any_strides(source: torch.Tensor) -> None:
    out = torch.empty(source.shape, dtype=torch.float32)
    call("aclnnInplaceCopy", out, source)
    assert torch.equal(out, source.to(torch.float32))
    reverse = tuple(reversed(range(source.dim())))
    back = torch.zeros([2 * n for n in reversed(source.shape)], dtype=source.dtype)[
        (slice(None, None, 2),) * source.dim()
    ]
    call("aclnnInplaceCopy", back.permute(reverse), source)
    assert torch.equal(back.permute(reverse), source)


@pytest.mark.parametrize("dtype", ALL)
def test_fills(dtype: torch.dtype) -> None:
    for shape in SHAPES:
        for _, x in layouts(make(shape, dtype)):
            for name, value in (("aclnnInplaceZero", 0), ("aclnnInplaceOne", 1)):
                call(name, x)
                assert torch.equal(x, torch.full(shape, value, dtype=dtype))
            call("aclnnInplaceFillScalar", x, Scalar(2.75))
            assert torch.equal(x, torch.empty(shape, dtype=dtype).fill_(2.75))
            call("aclnnInplaceFillTensor", x, torch.tensor(3))
            assert torch.equal(x, torch.empty(shape, dtype=dtype).fill_(3))
    big = torch.empty(300_001, dtype=dtype)
    call("aclnnInplaceOne", big)
    assert torch.equal(big, torch.ones_like(big))


def test_bad_input_is_named() -> None:
    with pytest.raises(OperatorError, match=r"aclnnInplaceCopy: src float32\[3\].*selfRef float32\[2\]"):
        call("aclnnInplaceCopy", torch.ones(2), torch.ones(3))
    with pytest.raises(OperatorError, match="aclnnCast: out is float32.*dtype is float16"):
        call("aclnnCast", torch.ones(2), torch.float16, torch.ones(2))
    with pytest.raises(OperatorError, match="aclnnCast: out is null"):
        call("aclnnCast", torch.ones(2), torch.float16, None)
    with pytest.raises(OperatorError, match=r"aclnnInplaceFillTensor: value is float32\[2\]"):
        call("aclnnInplaceFillTensor", torch.ones(2), torch.ones(2))
