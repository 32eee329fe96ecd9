# SPDX-License-Identifier: Apache-2.0
"""NsaCompress and its gradients against autograd in float64."""

from __future__ import annotations

import itertools

import pytest
import torch
from aclnn import IntArray, OperatorError, call
from compare import assert_close, layouts, make

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
# ends of sequences, block, stride, heads, elements
CASES = (
    ((40,), 16, 8, 2, 24),
    ((3, 3, 30, 50), 8, 8, 3, 130),
    ((9, 20), 4, 6, 1, 1),
    ((5,), 8, 2, 2, 8),
    ((70, 71), 32, 16, 4, 64),
)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_compress(dtype: torch.dtype, case: tuple) -> None:
    ends, size, stride, heads, elements = case
    tokens = ends[-1] + 2
    w = make((size, heads), dtype, 1)
    starts = [b + at for b, e in itertools.pairwise((0, *ends)) for at in range(0, e - b - size + 1, stride)]
    for _, x in layouts(make((tokens, heads, elements), dtype, 2)):
        x64, w64 = x.double().requires_grad_(), w.double().requires_grad_()
        rows = [torch.einsum("wh,whd->hd", w64, x64[s : s + size]) for s in starts]
        want = torch.stack(rows) if rows else torch.zeros(0, heads, elements, dtype=torch.float64)
        out = torch.full(want.shape, 7, dtype=dtype)
        call("aclnnNsaCompress", x, w, IntArray(ends), "TND", size, stride, 0, out)
        assert_close(out, want.detach(), 1, 2e-4)
        grad, dx, dw = make(want.shape, dtype, 3), torch.full_like(x, 7), torch.full_like(w, 7)
        call("aclnnNsaCompressGrad", grad, x, w, IntArray(ends), size, stride, 0, "TND", dx, dw)
        zeros = (torch.zeros_like(x64), torch.zeros_like(w64))
        expected = torch.autograd.grad(want, (x64, w64), grad.double()) if rows else zeros
        assert_close(dx, expected[0], 1, 2e-4)
        assert_close(dw, expected[1], 1, 1e-3)


def test_refuses() -> None:
    x, w, out = torch.ones(9, 2, 4), torch.ones(4, 2), torch.empty(3, 2, 4)
    good = [x, w, IntArray([9]), "TND", 4, 2, 0, out]
    call("aclnnNsaCompress", *good)
    for at, bad, text in (
        (0, x.double(), "input is float64"),
        (1, torch.ones(5, 2), "weight is"),
        (2, IntArray([10]), "actSeqLenOptional has 10 at 0, wanted 0 to 9"),
        (2, IntArray([5, 4]), "actSeqLenOptional has 4 at 1, wanted 5 to 9"),
        (2, None, "actSeqLenOptional is null"),
        (3, "BSND", "TND is supported"),
        (5, 0, "compressStride 0"),
        (6, 1, "actSeqLenType is 1"),
        (7, torch.empty(4, 2, 4), "output is"),
    ):
        with pytest.raises(OperatorError, match="aclnnNsaCompress: ") as e:
            call("aclnnNsaCompress", *good[:at], bad, *good[at + 1 :])
        assert text in e.value.text


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_compress_with_cache(dtype: torch.dtype) -> None:
    page, size, stride, heads, elements = 8, 6, 4, 3, 24
    lengths, slots = [6, 5, 14, 22, 10, 0], [4, 3, 2, 0, 0, 1]
    table = torch.randperm(18, generator=torch.Generator().manual_seed(1)).view(6, 3).int()
    w = make((size, heads), dtype, 1)
    for _, pages in layouts(make((18, page, heads, elements), dtype, 2)):
        cache = torch.full((5, heads, elements), 7, dtype=dtype)
        want = cache.double()
        for b, (n, slot) in enumerate(zip(lengths, slots, strict=True)):
            if n >= size and (n - size) % stride == 0:
                tokens = torch.cat([pages[table[b, i]] for i in range(3)])[n - size : n].double()
                want[slot] = torch.einsum("wh,whd->hd", w.double(), tokens)
        call("aclnnNsaCompressWithCache", pages, w, torch.tensor(slots, dtype=torch.int32), IntArray(lengths), table, "TND",
             size, stride, 1, page, cache)  # fmt: skip
        assert_close(cache, want, 1, 5e-5)


def test_compress_with_cache_refuses() -> None:
    pages, w, slot, table, cache = (
        torch.ones(2, 8, 1, 4),
        torch.ones(4, 1),
        torch.tensor([0]),
        torch.tensor([[1]]),
        torch.ones(1, 1, 4),
    )
    good = [pages, w, slot, IntArray([4]), table, "TND", 4, 2, 1, 8, cache]
    call("aclnnNsaCompressWithCache", *good)
    for at, bad, text in (
        (2, torch.tensor([1]), "slotMapping has 1 at 0"),
        (3, IntArray([9]), "actSeqLenOptional has 9 at 0, wanted 0 to 8"),
        (3, None, "actSeqLenOptional has 0 lengths"),
        (4, torch.tensor([[2]]), "blockTableOptional has 2 for page 0"),
        (8, 0, "actSeqLenType is 0"),
        (9, 16, "pageBlockSize is 16"),
        (10, torch.ones(1, 1, 5), "outputCache is"),
    ):
        with pytest.raises(OperatorError, match="aclnnNsaCompressWithCache: ") as e:
            call("aclnnNsaCompressWithCache", *good[:at], bad, *good[at + 1 :])
        assert text in e.value.text
