"""aclnnCat, aclnnStack, aclnnSplitWithSize, aclnnChunkCat."""

from __future__ import annotations

import pytest
import torch
from aclnn import IntArray, OperatorError, call
from compare import COMPLEX, FLOATS, INTS, make

ALL = (*FLOATS, *INTS, torch.bool, *COMPLEX)


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_cat_and_split(dtype: torch.dtype, dim: int) -> None:
    for base in ((2, 3, 5), (3, 200, 70), (1, 0, 4)):
        parts = []
        for i, n in enumerate((1, 4, 0, 7)):
            shape = list(base)
            shape[dim] = n
            parts.append(make(tuple(shape), dtype, seed=i))
        parts[1] = parts[1].transpose(0, 2).contiguous().transpose(0, 2)
        whole = torch.cat(parts, dim)
        out = torch.empty_like(whole)
        call("aclnnCat", parts, dim, out)
        assert torch.equal(out, whole)
        back = [torch.empty(p.shape, dtype=dtype) for p in parts]
        call("aclnnSplitWithSize", whole, IntArray([1, 4, 0, 7]), dim, back)
        assert all(torch.equal(a, b) for a, b in zip(parts, back, strict=True))


def test_cat_promotes_and_skips_legacy_empty() -> None:
    parts = [torch.arange(6).reshape(2, 3), torch.empty(0), torch.rand(4, 3)]
    out = torch.empty(6, 3)
    call("aclnnCat", parts, 0, out)
    assert torch.equal(out, torch.cat(parts))
    strided = torch.empty(3, 6).t()
    call("aclnnCat", parts, 0, strided)
    assert torch.equal(strided, torch.cat(parts))


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_stack(dim: int) -> None:
    parts = [make((3, 5), torch.bfloat16, seed=i) for i in range(4)]
    expected = torch.stack(parts, dim)
    out = torch.empty_like(expected)
    call("aclnnStack", parts, dim, out)
    assert torch.equal(out, expected)
    scalars = [torch.tensor(1.5), torch.tensor(2.5)]
    out = torch.empty(2)
    call("aclnnStack", scalars, 0, out)
    assert torch.equal(out, torch.stack(scalars))


@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("chunks", [1, 3, 4])
def test_chunk_cat(dim: int, chunks: int) -> None:
    tensors = [make((5, 7), torch.float32), make((5, 3, 2), torch.float32), make((5, 9), torch.float32)]
    if dim == 0:
        tensors += [make((11, 4), torch.float32), make((2,), torch.float32)]
    expected = torch._chunk_cat(tensors, dim, chunks)
    for dtype in (torch.float32, torch.bfloat16):
        out = torch.empty(expected.shape, dtype=dtype)
        call("aclnnChunkCat", tensors, dim, chunks, out)
        assert torch.equal(out, expected.to(dtype))


def test_bad_input_is_named() -> None:
    with pytest.raises(
        OperatorError, match=r"aclnnCat: tensor 1 of the list is float32\[3,2\].*dimension 1 differs"
    ):
        call("aclnnCat", [torch.ones(2, 3), torch.ones(3, 2)], 0, torch.empty(5, 3))
    with pytest.raises(OperatorError, match="aclnnCat: dim is 2"):
        call("aclnnCat", [torch.ones(2, 3)], 2, torch.empty(2, 3))
    with pytest.raises(OperatorError, match="aclnnCat: the parts have 4 elements"):
        call("aclnnCat", [torch.ones(4)], 0, torch.empty(5))
    with pytest.raises(OperatorError, match="aclnnSplitWithSize: out has 1 tensors, wanted 2"):
        call("aclnnSplitWithSize", torch.ones(4), IntArray([2, 2]), 0, [torch.empty(2)])
    with pytest.raises(OperatorError, match="aclnnStack: 1 tensors"):
        call("aclnnStack", [torch.ones(4)], 0, torch.empty(2, 4))
