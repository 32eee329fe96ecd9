"""aclnnGather, aclnnGatherV3, aclnnIndexSelect, aclnnEmbedding, aclnnEmbeddingDenseBackward."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from aclnn import OperatorError, call
from compare import COMPLEX, FLOATS, INTS, assert_close, layouts, make
from hypothesis import given, settings

ALL = (*FLOATS, *INTS, torch.bool, *COMPLEX)


def indices(
    shape: tuple[int, ...], bound: int, dtype: torch.dtype = torch.int64, low: int = 0
) -> torch.Tensor:
    return torch.randint(low, bound, shape, generator=torch.Generator().manual_seed(bound)).to(dtype)


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_gather_and_index_select(dtype: torch.dtype, dim: int) -> None:
    for shape in ((4, 5, 7), (3, 40, 300)):
        for name, x in layouts(make(shape, dtype)):
            sizes = [n - 1 for n in shape]
            sizes[dim] = 9
            index = indices(tuple(sizes), shape[dim], torch.int32 if name == "gaps" else torch.int64)
            if name == "transposed":
                index = index.transpose(0, 2).contiguous().transpose(0, 2)
            out = torch.empty(sizes, dtype=dtype)
            call("aclnnGather", x, dim, index, out)
            assert torch.equal(out, torch.gather(x, dim, index.long()))
            for count in (0, 1, 11) if shape == (4, 5, 7) else (11,):
                line = indices((count,), shape[dim])
                expected = torch.index_select(x, dim, line)
                for _, out in layouts(torch.empty_like(expected)):
                    call("aclnnIndexSelect", x, dim, line, out)
                    assert torch.equal(out, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gather_from_a_table_larger_than_the_cache(dtype: torch.dtype) -> None:
    """Rows of indices that reach all over it."""
    for shape, rows in (((1000, 1100), 70), ((3, 2000, 530), 66)):
        x = make(shape, dtype)
        dim = len(shape) - 2
        index = indices((*shape[:dim], rows, shape[-1] - 3), shape[dim])
        out = torch.empty(index.shape, dtype=dtype)
        call("aclnnGather", x, dim, index, out)
        assert torch.equal(out, torch.gather(x, dim, index))
        index[..., rows - 1, shape[-1] - 4] = shape[dim]
        with pytest.raises(OperatorError, match=f"index {shape[dim]} at position"):
            call("aclnnGather", x, dim, index, out)


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("kind", [torch.int64, torch.int32])
def test_gather_in_the_place_of_a_dimension(dtype: torch.dtype, kind: torch.dtype) -> None:
    for shape in ((6,), (6, 5), (6, 3, 8)):
        for _, x in layouts(make(shape, dtype)):
            for dim in range(-len(shape), len(shape)):
                for index in (
                    indices((), shape[dim]),
                    indices((7,), shape[dim]),
                    indices((2, 3, 4), shape[dim]),
                ):
                    want = torch.index_select(x, dim, index.flatten())
                    want = want.reshape(
                        (*shape[: dim % len(shape)], *index.shape, *shape[dim % len(shape) + 1 :])
                    )
                    for _, out in layouts(torch.empty_like(want)):
                        call("aclnnGatherV3", x, dim, index.to(kind), 0, 1, out)
                        assert torch.equal(out, want)


@pytest.mark.parametrize("batch", [1, 2])
def test_gather_of_batches(batch: int) -> None:
    """Each batch has indices of its own."""
    for dim in range(batch, 4):
        x = make((2, 3, 4, 5), torch.float32)
        for more in ((), (6,), (2, 3)):
            for _, index in layouts(indices((*x.shape[:batch], *more), x.shape[dim])):
                parts = [
                    torch.index_select(row, dim - batch, at.flatten()).reshape(
                        *row.shape[: dim - batch], *more, *row.shape[dim - batch + 1 :]
                    )
                    for row, at in zip(x.flatten(0, batch - 1), index.flatten(0, batch - 1), strict=True)
                ]
                want = torch.stack(parts).unflatten(0, x.shape[:batch])
                out = torch.empty_like(want)
                call("aclnnGatherV3", x, dim, index, batch, 0, out)
                assert torch.equal(out, want)


def test_gather_in_place_of_a_dimension_refuses() -> None:
    x, index, out = torch.ones(2, 3), torch.zeros(4, dtype=torch.int64), torch.empty(2, 4)

    def refused(match: str, *args: object) -> None:
        with pytest.raises(OperatorError, match=f"aclnnGatherV3: {match}"):
            call("aclnnGatherV3", *args)

    for i, name in ((0, "self"), (2, "index"), (5, "out")):
        args = [x, 1, index, 0, 1, out]
        args[i] = None
        refused(f"{name} is null", *args)
    refused("dim is 2", x, 2, index, 0, 1, out)
    refused("batchDims is 2", x, 1, index, 2, 1, out)
    refused("batchDims is -1", x, 1, index, -1, 1, out)
    refused("mode is 2", x, 1, index, 0, 2, out)
    refused("index is float32", x, 1, x, 0, 1, out)
    refused(r"index is int64\[4\], self float32\[2,3\]: wanted the same 1 first", x, 1, index, 1, 1, out)
    refused(r"out is float32\[2,3\], wanted float32\[2,4\]", x, 1, index, 0, 1, x)
    refused("index 3 at position", x, 1, index + 3, 0, 1, out)
    call("aclnnGatherV3", torch.ones(0, 3), 1, index, 0, 1, torch.empty(0, 4))
    y = torch.arange(12.0).reshape(4, 3)
    call("aclnnGatherV3", y, 0, torch.tensor([3, 2, 1, 0]), 0, 1, y)
    assert torch.equal(y, torch.arange(12.0).reshape(4, 3).flip(0))


def test_scalars_and_empty() -> None:
    out = torch.empty(())
    call("aclnnGather", torch.tensor(3.0), 0, torch.tensor(0), out)
    assert out == 3
    call("aclnnGather", torch.ones(3, 2), 1, torch.empty(0, dtype=torch.int64), torch.empty(0))
    call("aclnnIndexSelect", torch.ones(3), 0, torch.tensor(2), out)
    assert out == 1


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_gather_of_any_shape(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 7), min_size=1, max_size=4))
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    order = data.draw(st.permutations(range(len(shape))))
    x = torch.arange(torch.tensor(shape).prod().item()).reshape(shape).permute(order)
    sizes = [data.draw(st.integers(1, n)) for n in x.shape]
    sizes[dim] = data.draw(st.integers(1, 9))
    index = indices(tuple(sizes), x.shape[dim])
    out = torch.empty(sizes, dtype=torch.int64)
    call("aclnnGather", x, dim, index, out)
    assert torch.equal(out, torch.gather(x, dim, index))


@pytest.mark.parametrize("dtype", ALL)
def test_embedding(dtype: torch.dtype) -> None:
    for rows, width, shape in (
        (10, 7, (3, 4)),
        (1000, 65, (2000,)),
        (5, 0, (3,)),
        (5, 3, ()),
        (5, 3, (0, 2)),
    ):
        weight = make((rows, width), dtype)
        for _, w in layouts(weight):
            index = indices(shape, rows)
            out = torch.empty((*shape, width), dtype=dtype)
            call("aclnnEmbedding", w, index, out)
            assert torch.equal(out, weight[index])
        turned = torch.empty((width, *shape), dtype=dtype).movedim(0, -1)
        call("aclnnEmbedding", weight, index.int(), turned)
        assert torch.equal(turned, weight[index])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("rows", [3, 700])
def test_embedding_backward(dtype: torch.dtype, rows: int) -> None:
    for width in (1, 70, 1100) if rows == 3 else (1, 70):
        for padding, by_frequency in ((-1, False), (1, True)):
            index = indices((40, 3), rows)
            grad = make((40, 3, width), dtype)
            out = torch.full((rows, width), 7, dtype=dtype)
            call("aclnnEmbeddingDenseBackward", grad, index, rows, padding % 2**64, by_frequency, out)
            expected = torch.ops.aten.embedding_dense_backward(
                grad.double(), index, rows, padding, by_frequency
            )
            # Sums of up to n terms of size up to 4, accumulated in float (double for float64).
            bound = 120 * 4 * (2**-24 if dtype != torch.float64 else 2**-53)
            assert_close(out, expected, max_ulp=1, atol=bound)
            strided = torch.empty((width, rows), dtype=dtype).t()
            call(
                "aclnnEmbeddingDenseBackward",
                grad.transpose(0, 1),
                index.t(),
                rows,
                padding % 2**64,
                by_frequency,
                strided,
            )
            assert_close(strided, expected, max_ulp=1, atol=bound)


def test_embedding_backward_sums_in_float() -> None:
    grad = torch.full((4096, 8), 0.01, dtype=torch.bfloat16)
    out = torch.empty(2, 8, dtype=torch.bfloat16)
    call("aclnnEmbeddingDenseBackward", grad, torch.zeros(4096, dtype=torch.int64), 2, 2**64 - 1, False, out)
    assert_close(out[0], grad.double().sum(0))
    assert torch.equal(out[1], torch.zeros(8, dtype=torch.bfloat16))


def test_index_out_of_range_is_named() -> None:
    """Elements before it may be written: a gather reads each index once. Sums of a gradient are not begun."""
    x, out = torch.ones(4, 5), torch.zeros(2, 5)
    index = torch.tensor([[0, 1, 2, 3, 0], [0, 1, -1, 0, 0]])
    with pytest.raises(
        OperatorError, match=r"aclnnGather: index -1 at position \[1,2\] of index.*wanted 0 to 3"
    ) as error:
        call("aclnnGather", x, 0, index, out)
    assert error.value.code == 161002
    with pytest.raises(OperatorError, match=r"aclnnIndexSelect: index 4 at position \[1\].*wanted 0 to 3"):
        call("aclnnIndexSelect", x, 0, torch.tensor([0, 4]), out)
    with pytest.raises(
        OperatorError, match=r"aclnnEmbedding: index 9 at position \[1\] of indices.*wanted 0 to 3"
    ):
        call("aclnnEmbedding", x, torch.tensor([0, 9]), out)
    out.zero_()
    with pytest.raises(OperatorError, match=r"aclnnEmbeddingDenseBackward: index 2 at position \[0,1\]"):
        call(
            "aclnnEmbeddingDenseBackward",
            torch.ones(1, 2, 5),
            torch.tensor([[0, 2]]),
            2,
            2**64 - 1,
            False,
            out,
        )
    assert torch.equal(out, torch.zeros(2, 5))


def test_bad_input_is_named() -> None:
    x, index = torch.ones(4, 5), torch.zeros(2, 5, dtype=torch.int64)
    for name, args, text in (
        ("aclnnGather", (x, 2, index, torch.empty(2, 5)), "dim is 2"),
        ("aclnnGather", (x, 0, index.float(), torch.empty(2, 5)), "index is float32.*wanted int64"),
        (
            "aclnnGather",
            (x, 1, torch.zeros(5, 5, dtype=torch.int64), torch.empty(5, 5)),
            "dimension 0 of index is larger",
        ),
        ("aclnnGather", (x, 0, index, torch.empty(2, 4)), r"out is float32\[2,4\]"),
        ("aclnnIndexSelect", (x, 0, index, torch.empty(2, 5)), "wanted one dimension"),
        ("aclnnEmbedding", (torch.ones(3), index, x), r"weight is float32\[3\]"),
        ("aclnnEmbedding", (None, index, x), "weight is null"),
        ("aclnnEmbeddingDenseBackward", (x, index, 3, 0, False, x), "numWeights 3"),
    ):
        with pytest.raises(OperatorError, match=f"{name}: .*{text}"):
            call(name, *args)
