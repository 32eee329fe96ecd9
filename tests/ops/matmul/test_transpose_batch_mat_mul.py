"""Products of permuted batches, against float64."""

from __future__ import annotations

import itertools

import pytest
import torch
from aclnn import IntArray, OperatorError, call
from compare import assert_close, make

PERMUTATIONS = list(itertools.permutations(range(3)))
ATOL = {torch.float32: 1e-5, torch.bfloat16: 1e-5, torch.float16: 1e-5}


def unpermuted(product: torch.Tensor, p: tuple[int, ...]) -> torch.Tensor:
    """What permuted by p is the product."""
    return product.permute([p.index(i) for i in range(3)]).contiguous()


@pytest.mark.parametrize("dtype", list(ATOL))
def test_permutations(dtype: torch.dtype) -> None:
    a, b = make((4, 5, 17), dtype), make((4, 17, 6), dtype, 1)
    want = a.double() @ b.double()
    for p1, p2, py in itertools.product(PERMUTATIONS, repeat=3):
        out = torch.empty([want.shape[i] for i in py], dtype=dtype)
        perms = [IntArray(list(p)) for p in (p1, p2, py)]
        call("aclnnTransposeBatchMatMul", unpermuted(a, p1), unpermuted(b, p2), None, None, *perms, 0, 1, out)
        assert_close(out, want.permute(py), 2, ATOL[dtype] * 17)


@pytest.mark.parametrize("split", [2, 4])
def test_split(split: int) -> None:
    a, b = make((4, 5, 17), torch.float32), make((4, 17, 6), torch.float32, 1)
    out = torch.empty(split, 5, 24 // split)
    perms = [IntArray(p) for p in ([1, 0, 2], [0, 1, 2], [1, 0, 2])]
    call("aclnnTransposeBatchMatMul", a.transpose(0, 1).contiguous(), b, None, None, *perms, 0, split, out)
    want = (a.double() @ b.double()).transpose(0, 1).reshape(5, split, -1).transpose(0, 1)
    assert_close(out, want, 2, 2e-4)


def test_bad_input() -> None:
    x, y, out = torch.ones(2, 3, 4), torch.ones(2, 4, 5), torch.empty(3, 2, 5)
    same, turned, twice = IntArray([0, 1, 2]), IntArray([1, 0, 2]), IntArray([1, 1, 2])
    with pytest.raises(OperatorError, match="perm_x1 should be a permutation"):
        call("aclnnTransposeBatchMatMul", x, y, None, None, twice, same, turned, 0, 1, out)
    with pytest.raises(OperatorError, match="which do not multiply as they are permuted"):
        call("aclnnTransposeBatchMatMul", x, y, None, None, turned, same, turned, 0, 1, out)
    with pytest.raises(OperatorError, match="batchSplitFactor is 3, want a divisor of the batch of 2"):
        call("aclnnTransposeBatchMatMul", x, y, None, None, same, same, turned, 0, 3, out)
    with pytest.raises(OperatorError, match="out is .*the result has the shape of"):
        call("aclnnTransposeBatchMatMul", x, y, None, None, same, same, same, 0, 1, out)
    with pytest.raises(OperatorError, match="scale is not supported"):
        call("aclnnTransposeBatchMatMul", x, y, None, torch.ones(10), same, same, turned, 0, 1, out)
