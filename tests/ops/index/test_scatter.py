"""aclnnScatter*, aclnnScatterAdd, aclnnIndexAdd, IndexCopy, IndexFill."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from aclnn import IntArray, OperatorError, Scalar, call
from compare import COMPLEX, FLOATS, INTS, assert_close, layouts, make
from hypothesis import given, settings
from test_gather import indices

ALL = (*FLOATS, *INTS, torch.bool, *COMPLEX)


def permutation(shape: tuple[int, ...], dim: int, size: int) -> torch.Tensor:
    """Indices without repetition along dim, so that the result is defined."""
    g = torch.Generator().manual_seed(1)
    wide = list(shape)
    wide[dim] = size
    return torch.rand(wide, generator=g).argsort(dim).narrow(dim, 0, shape[dim])


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_scatter(dtype: torch.dtype, dim: int) -> None:
    for shape, sizes in (((4, 5, 7), (3, 4, 4)), ((3, 40, 130), (2, 3, 3)), ((2, 3, 4), (0, 1, 1))):
        sizes = tuple(min(a, b) for a, b in zip(sizes, shape, strict=True))
        index = permutation(sizes, dim, shape[dim])
        src = make(shape, dtype, seed=3)
        for _, x in layouts(make(shape, dtype)):
            expected = torch.scatter(x, dim, index, src)
            out = torch.empty(shape, dtype=dtype)
            call("aclnnScatter", x, dim, index.int(), src, 0, out)
            assert torch.equal(out, expected)
            target = x.clone(memory_format=torch.preserve_format)
            call("aclnnInplaceScatter", target, dim, index, src, 0)
            assert torch.equal(target, expected)
            call("aclnnScatterValue", x, dim, index, Scalar(3), 0, out)
            expected = torch.scatter(x, dim, index, 3)
            assert torch.equal(out, expected)
            call("aclnnInplaceScatterValue", x, dim, index, Scalar(3), 0)
            assert torch.equal(x, expected)


@pytest.mark.parametrize("dtype", [d for d in ALL if d != torch.bool])
def test_scatter_adds_and_multiplies(dtype: torch.dtype) -> None:
    wide = torch.float64 if dtype.is_floating_point else torch.complex128 if dtype.is_complex else torch.int64
    for dim, shape in ((0, (6, 50)), (1, (50, 6)), (0, (4,)), (1, (2, 5, 70))):
        x = make(shape, dtype)
        sizes = list(shape)
        sizes[dim] = 40
        index = indices(tuple(sizes), shape[dim])
        src = make(tuple(sizes), dtype, seed=5)
        # 40 terms below 4 in float, or in double.
        bound = (
            40 * 40 * 4 * (2.0**-24 if dtype != torch.float64 else 2.0**-53)
            if not wide.is_signed or wide != torch.int64
            else 0
        )
        out = torch.empty(shape, dtype=dtype)
        call("aclnnScatterAdd", x, dim, index, src, out)
        assert_close(out, x.to(wide).scatter_add(dim, index, src.to(wide)), max_ulp=1, atol=bound)
        call("aclnnScatter", x, dim, index, src, 1, out)
        assert_close(out, x.to(wide).scatter_add(dim, index, src.to(wide)), max_ulp=1, atol=bound)
        if not dtype.is_complex and dtype != torch.float16:
            few = index.narrow(dim, 0, 3)
            call("aclnnScatter", x, dim, few, src, 2, out)
            expected = x.to(wide).scatter_reduce(dim, few, src.to(wide), "prod")
            assert_close(out, expected.to(dtype), max_ulp=4)


@pytest.mark.parametrize("n", [100_000, 300_000])
def test_many_into_few_is_exact(n: int) -> None:
    index = indices((n,), 1000)
    src = torch.ones(n)
    out = torch.zeros(1000)
    call("aclnnScatterAdd", out, 0, index, src, out)
    assert torch.equal(out, torch.bincount(index, minlength=1000).float())
    last = torch.zeros(1000, dtype=torch.int64)
    call("aclnnInplaceScatter", last, 0, index, torch.arange(n), 0)
    expected = torch.zeros(1000, dtype=torch.int64).scatter_reduce(0, index, torch.arange(n), "amax")
    assert torch.equal(last, expected)


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_index_add_copy_fill(dtype: torch.dtype, dim: int) -> None:
    for shape in ((4, 5, 7), (3, 40, 130)):
        count = shape[dim]
        sizes = list(shape)
        line = permutation((count,), 0, count)
        wide = (
            torch.float64
            if dtype.is_floating_point
            else torch.complex128
            if dtype.is_complex
            else torch.int64
        )
        source = make(tuple(sizes), dtype, seed=3)
        for _, x in layouts(make(shape, dtype)):
            out = torch.empty(shape, dtype=dtype)
            if dtype != torch.bool:
                added = torch.index_add(x.to(wide), dim, line, source.to(wide), alpha=2).to(dtype)
                call("aclnnIndexAdd", x, dim, line, source, Scalar(2), out)
                assert_close(out, added)
                call("aclnnIndexAddV2", x, dim, line, source, Scalar(2), 0, out)
                assert_close(out, added)
            call("aclnnIndexCopy", x, dim, line.int(), source, out)
            assert torch.equal(out, torch.index_copy(x, dim, line, source))
            target = x.clone()
            call("aclnnInplaceIndexCopy", target, dim, line, source)
            assert torch.equal(target, out)
            few = line[:2] - count
            expected = torch.index_fill(x, dim, few, 2)
            call("aclnnIndexFill", x, dim, few, Scalar(2), out)
            assert torch.equal(out, expected)
            call("aclnnIndexFillTensor", x, dim, IntArray(few.tolist()), Scalar(2), out)
            assert torch.equal(out, expected)
            target = x.clone()
            call("aclnnInplaceIndexFill", target, dim, few, Scalar(2))
            assert torch.equal(target, expected)
            call("aclnnInplaceIndexFillTensor", x, dim, IntArray(few.tolist()), Scalar(2))
            assert torch.equal(x, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("alpha", [1, -0.5])
def test_index_add_of_slices_rounds_once(dtype: torch.dtype, alpha: float) -> None:
    """Rows that are hit many times, once and never; the sum in float32 in the order of the index, then rounded."""
    for rows, width, count in ((9, 64, 40), (50, 131, 30), (3, 5000, 20), (2000, 70, 5), (1, 64, 7)):
        x, source = make((rows, width), dtype), make((count, width), dtype, seed=2)
        index = indices((count,), rows)
        want = x.float().clone()
        for i, at in enumerate(index.tolist()):
            want[at] += source[i].float() * alpha
        for target, values in ((x.clone(), source), (x.clone(), source.t().contiguous().t())):
            out = torch.empty_like(x)
            call("aclnnIndexAdd", target, 0, index, values, Scalar(alpha), out)
            assert torch.equal(out, want.to(dtype)) and torch.equal(target, x)
            call("aclnnIndexAdd", target, 0, index, values, Scalar(alpha), target)
            assert torch.equal(target, want.to(dtype))
        bad = index.clone()
        bad[-1] = rows
        kept = x.clone()
        with pytest.raises(OperatorError, match=f"index {rows} at position"):
            call("aclnnIndexAdd", kept, 0, bad, source, Scalar(alpha), kept)
        assert torch.equal(kept, x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dim", [0, 1])
def test_scatter_of_parts(dtype: torch.dtype, dim: int) -> None:
    """Targets larger than what is widened, or kept in the cache, at a time; the index ends before self."""
    x, src = make((700, 1000), dtype), make((600, 900), dtype, seed=4)
    index = indices((600, 900), x.shape[dim])
    out = torch.empty_like(x)
    call("aclnnScatterAdd", x, dim, index, src, out)
    want = x.double().scatter_add(dim, index, src.double())
    assert_close(out, want, 1, 40 * 40 * 4 * 2.0**-24)
    line, values = indices((900,), x.shape[dim]), make((700, 900) if dim else (900, 1000), dtype, seed=5)
    call("aclnnIndexAdd", x, dim, line, values, Scalar(1), out)
    assert_close(out, x.double().index_add(dim, line, values.double()), 1, 40 * 40 * 4 * 2.0**-24)
    memory = torch.zeros(700 * 1000 + 1, dtype=dtype)
    target, shifted = memory[:-1].view(700, 1000), memory[1:].view(700, 1000)
    shifted.copy_(x)
    want = target.double().scatter_add(dim, index, shifted.double())
    call("aclnnScatterAdd", target, dim, index, shifted, target)
    assert_close(target, want, 1, 40 * 40 * 4 * 2.0**-24)


@pytest.mark.parametrize("dim", [0, 1])
def test_index_add_repeats(dim: int) -> None:
    shape = (5, 300) if dim == 0 else (300, 5)
    sizes = (1000, 300) if dim == 0 else (300, 1000)
    source = torch.randint(-9, 9, sizes).float()
    line = indices((1000,), 5)
    out = torch.zeros(shape)
    call("aclnnIndexAdd", out, dim, line, source, Scalar(1), out)
    assert torch.equal(out, torch.zeros(shape).index_add(dim, line, source))


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_scatter_add_of_any_shape(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 7), min_size=1, max_size=4))
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = torch.zeros(shape, dtype=torch.int64).permute(data.draw(st.permutations(range(len(shape)))))
    sizes = [data.draw(st.integers(1, n)) for n in x.shape]
    sizes[dim] = data.draw(st.integers(1, 9))
    index = indices(tuple(sizes), x.shape[dim])
    src = torch.arange(index.numel()).reshape(sizes)
    expected = x.scatter_add(dim, index, src)
    call("aclnnScatterAdd", x, dim, index, src, x)
    assert torch.equal(x, expected)


def test_errors_are_named_and_nothing_is_written() -> None:
    x, index = torch.zeros(4, 5), torch.tensor([[0, 1, 2, 3, 4]])
    with pytest.raises(
        OperatorError, match=r"aclnnInplaceScatter: index 4 at position \[0,4\] of index.*wanted 0 to 3"
    ):
        call("aclnnInplaceScatter", x, 0, index, torch.ones(1, 5), 0)
    with pytest.raises(OperatorError, match=r"aclnnIndexAdd: index -1 at position \[0\]"):
        call("aclnnIndexAdd", x, 0, torch.tensor([-1]), torch.ones(1, 5), Scalar(1), x)
    with pytest.raises(
        OperatorError, match=r"aclnnInplaceIndexFill: index -5 at position \[1\].*wanted -4 to 3"
    ):
        call("aclnnInplaceIndexFill", x, 0, torch.tensor([-4, -5]), Scalar(1))
    assert torch.equal(x, torch.zeros(4, 5))
    for name, args, text in (
        ("aclnnScatter", (x, 0, index, torch.ones(1, 4), 0, x), "dimension 1 of index is larger"),
        ("aclnnScatter", (x, 0, index, torch.ones(1, 5), 3, x), "reduce is 3"),
        ("aclnnScatter", (x, 0, index, torch.ones(1, 5).half(), 0, x), "src is float16"),
        ("aclnnScatterAdd", (x, 5, index, torch.ones(1, 5), x), "dim is 5"),
        (
            "aclnnIndexAdd",
            (x, 0, torch.tensor([1]), torch.ones(2, 5), Scalar(1), x),
            r"source is float32\[2,5\], wanted float32\[1,5\]",
        ),
    ):
        with pytest.raises(OperatorError, match=f"{name}: .*{text}"):
            call(name, *args)
