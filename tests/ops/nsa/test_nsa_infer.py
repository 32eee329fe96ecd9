# SPDX-License-Identifier: Apache-2.0
"""Native sparse attention while decoding, from pages: compressed keys and the choice of blocks, and attention to the
blocks that were chosen, against float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from aclnn import IntArray, OperatorError, call
from compare import assert_close, make
from test_compress_attention import expect_chosen, importance

COMPRESS, SELECT = "aclnnNsaCompressAttentionInfer", "aclnnNsaSelectedAttentionInfer"
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
SCALE = 0.3
# lengths of the sequences, heads of queries and of keys, sizes of q and v, page
CASES: tuple[tuple[Any, ...], ...] = (
    ((9,), 4, 1, 16, 24, 16),
    ((33, 1, 50), 6, 3, 9, 5, 16),
    ((0, 7), 2, 2, 8, 8, 3),
)  # fmt: skip


class Pages:
    """Keys and values of sequences, scattered over pages in an order of their own."""

    def __init__(self, case: tuple[Any, ...], dtype: torch.dtype) -> None:
        self.lengths, heads, self.groups, size, values, self.page = case
        self.each = heads // self.groups
        width = max((n + self.page - 1) // self.page for n in self.lengths) + 1
        total = len(self.lengths) * width
        order = torch.randperm(total, generator=torch.Generator().manual_seed(1))
        self.table = order.view(len(self.lengths), width).int()
        for row, n in zip(self.table, self.lengths, strict=True):
            row[(n + self.page - 1) // self.page :] = -7  # nobody looks there
        self.k = make((total, self.page, self.groups, size), dtype, 2, -1, 1)
        self.v = make((total, self.page, self.groups, values), dtype, 3, -1, 1)
        self.q = make((len(self.lengths), heads, size), dtype, 4, -1, 1)
        self.values, self.heads = values, heads

    def rows(self, pages: torch.Tensor, b: int) -> torch.Tensor:
        """All of sequence b, for each head of queries, float64."""
        n = self.lengths[b]
        used = self.table[b][: (n + self.page - 1) // self.page].long()
        return pages[used].flatten(0, 1)[:n].double().repeat_interleave(self.each, 1)


@pytest.mark.parametrize("layout", ["TND", "BSND", ""])
@pytest.mark.parametrize("sizes", [(32, 16, 64, 3), (16, 16, 16, 5), (32, 16, 32, 1)], ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_compressed(dtype: torch.dtype, case: tuple[Any, ...], sizes: tuple[int, ...], layout: str) -> None:
    p = Pages(case, dtype)
    b, count = len(p.lengths), sizes[3]
    out, indices = (
        torch.full((b, p.heads, p.values), 7, dtype=dtype),
        torch.full((b, p.groups, count), 7).int(),
    )
    steps = layout == "BSND"
    q, o, i = (x[:, None] if steps else x for x in (p.q, out, indices))
    call(
        COMPRESS, q, p.k.flatten(2), p.v.flatten(2), None, p.table, None, IntArray(p.lengths), None, None, p.heads,
        p.groups, sizes[2], count, sizes[0], sizes[1], SCALE, layout, p.page, 0, o, i,
    )  # fmt: skip
    for row, n in enumerate(p.lengths):
        score = torch.einsum("hd,jhd->hj", p.q[row].double(), p.rows(p.k, row)) * SCALE
        weights = score.softmax(-1)
        assert_close(out[row], torch.einsum("hj,jhd->hd", weights, p.rows(p.v, row)), 1, 2e-5)
        blocks = -(-((n - 1) * sizes[1] + sizes[0]) // sizes[2]) if n else 0
        sums = importance(weights.view(p.groups, p.each, n).sum(1), blocks, sizes)
        forced = sorted({j for j in (0, blocks - 2, blocks - 1) if 0 <= j < blocks})
        sums[:, forced] = 1e4
        expect_chosen(indices[row : row + 1].transpose(0, 1), sums[:, None])
        assert indices[row, :, : len(forced)].tolist() == [forced[:count]] * p.groups


@pytest.mark.parametrize("layout", ["BSND", "BSH", "TND", ""])
@pytest.mark.parametrize("block,count", [(4, 2), (16, 5), (64, 1)])
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_selected(dtype: torch.dtype, case: tuple[Any, ...], block: int, count: int, layout: str) -> None:
    p = Pages(case, dtype)
    b, g = len(p.lengths), torch.Generator().manual_seed(5)
    chosen = torch.full((b, p.groups, count), -1)
    for row, n in enumerate(p.lengths):
        for group in range(p.groups):
            picked = torch.randperm((n + block - 1) // block, generator=g)[:count]
            chosen[row, group, : len(picked)] = picked
    out = torch.full((b, p.heads, p.values), 7, dtype=dtype)
    four = layout in ("BSND", "")
    q, o = (x[:, None] if four else x[:, None].flatten(2) if layout == "BSH" else x for x in (p.q, out))
    k, v = (x if four else x.flatten(2) for x in (p.k, p.v))
    call(
        SELECT, q, k, v, chosen.int(), None, p.table, None, IntArray(p.lengths), layout, p.heads, p.groups, block,
        count, p.page, SCALE, 0, o,
    )  # fmt: skip
    for row, n in enumerate(p.lengths):
        keys, values = p.rows(p.k, row), p.rows(p.v, row)
        for h in range(p.heads):
            picked = [i for i in chosen[row, h // p.each].tolist() if i >= 0]
            at = [j for i in picked for j in range(i * block, min((i + 1) * block, n))]
            weights = (keys[at, h] @ p.q[row, h].double() * SCALE).softmax(0)
            assert_close(out[row, h], weights @ values[at, h], 1, 2e-5)


def test_one_after_the_other() -> None:
    """What the first branch chooses is what the second one takes: with all blocks chosen it is dense attention."""
    p = Pages(((40,), 2, 1, 8, 8, 16), torch.float32)
    compressed = Pages(((2,), 2, 1, 8, 8, 16), torch.float32)
    indices, out = torch.empty(1, 1, 4).int(), torch.empty(1, 2, 8)
    call(
        COMPRESS, p.q, compressed.k.flatten(2), compressed.v.flatten(2), None, compressed.table, None, IntArray([2]),
        None, None, 2, 1, 32, 4, 32, 16, SCALE, "TND", 16, 0, out, indices,
    )  # fmt: skip
    assert indices.tolist() == [[[0, 1, -1, -1]]]
    call(SELECT, p.q, p.k.flatten(2), p.v.flatten(2), indices, None, p.table, None, IntArray([40]), "TND", 2, 1, 32, 4,
         16, SCALE, 0, out)  # fmt: skip
    weights = (torch.einsum("hd,jhd->hj", p.q[0].double(), p.rows(p.k, 0)) * SCALE).softmax(-1)
    assert_close(out[0], torch.einsum("hj,jhd->hd", weights, p.rows(p.v, 0)), 1, 2e-5)


Q, CACHE, TABLE = torch.ones(2, 4, 8), torch.ones(5, 16, 16), torch.tensor([[0, 1], [2, 3]]).int()
WRONG_COMPRESS: tuple[tuple[int, Any, str], ...] = (
    (0, None, "query is null"),
    (0, Q[..., :4], "key is float32[5,16,2,8], wanted float32, bfloat16 or float16 [any,any,any,4]"),
    (0, Q[:, None], "query is float32[2,1,4,8], wanted 3 dimensions in TND"),
    (1, CACHE[..., :15], "key is float32[5,16,15] and numKeyValueHeads 2"),
    (1, None, "key is null"),
    (2, torch.ones(4, 16, 16), "wanted as many rows"),
    (3, torch.ones(2, 2), "attentionMaskOptional is given, wanted none"),
    (4, None, "blockTableOptional is null"),
    (4, TABLE[:1], "blockTableOptional is int32[1,2], wanted int32 or int64 [2,any]"),
    (4, TABLE + 3, "blockTable has 5 for page 0 of sequence 1, wanted 0 to 4"),
    (4, TABLE - 1, "blockTable has -1 for page 0 of sequence 0"),
    (5, IntArray([1, 2]), "actualQSeqLenOptional is given, wanted none"),
    (6, None, "actualCmpKvSeqLenOptional has 0 lengths, wanted 2"),
    (6, IntArray([3, 33]), "actualCmpKvSeqLenOptional has 33 at 1, wanted 0 to 32"),
    (6, IntArray([-1, 3]), "actualCmpKvSeqLenOptional has -1 at 0"),
    (7, IntArray([1, 1]), "actualSelKvSeqLenOptional is given, wanted none"),
    (8, torch.ones(2, 2), "topKMaskOptional is given, wanted none"),
    (9, 2, "query is float32[2,4,8] and numHeads 2, wanted its heads"),
    (10, 0, "numKeyValueHeads 0"),
    (11, 72, "selectBlockSize is 72"),
    (12, 0, "selectBlockCount is 0"),
    (13, 8, "compressBlockSize 8"),
    (14, -16, "stride -16"),
    (16, "BSH", 'layoutOptional is "BSH", wanted BSND or TND'),
    (16, "BSND", "query is float32[2,4,8], wanted 4 dimensions in BSND"),
    (17, 8, "pageBlockSize is 8, key float32[5,16,16]: wanted its second dimension"),
    (18, 3, "sparseMode is 3, wanted 0"),
    (19, torch.empty(2, 4, 9), "output is float32[2,4,9]"),
    (20, torch.empty(2, 2, 2).int(), "topKOutput is int32[2,2,2]"),
    (20, None, "topKOutput is null"),
)
WRONG_SELECT: tuple[tuple[int, Any, str], ...] = (
    (0, None, "query is null"),
    (0, torch.ones(2, 3, 8), "query is float32[2,3,8], wanted one token of each sequence, of 4 heads"),
    (1, CACHE[..., :15], "key is float32[5,16,15] and numKeyValueHeads 2"),
    (2, torch.ones(4, 16, 16), "value is float32[4,16,2,8]"),
    (3, None, "topkIndices is null"),
    (3, torch.zeros(2, 2, 3).int(), "topkIndices is int32[2,2,3], wanted int32 or int64 [2,2,2]"),
    (3, torch.full((2, 2, 2), 9).int(), "topkIndices has 9 for token 0, wanted -1 to 4"),
    (3, torch.full((2, 2, 2), -2).int(), "topkIndices has -2 for token 0, wanted -1 to 4"),
    (4, torch.ones(2, 2), "attenMaskOptional is given, wanted none"),
    (5, None, "blockTableOptional is null"),
    (5, TABLE + 3, "blockTable has 5 for page 0 of sequence 1, wanted 0 to 4"),
    (6, IntArray([1, 2]), "actualQSeqLenOptional is given, wanted none"),
    (7, None, "actualKvSeqLenOptional has 0 lengths, wanted 2"),
    (7, IntArray([20, 33]), "the actual length of the keys has 33 at 1, wanted lengths up to 32"),
    (7, IntArray([20, -(2**63)]), "the actual length of the keys has -9223372036854775808 at 1"),
    (8, "NTD", 'layoutOptional is "NTD", wanted BSND, BSH or TND'),
    (8, "BSND", "query is float32[2,4,8], wanted 4 dimensions in this layout"),
    (9, 0, "numHeads 0"),
    (9, 3, "wanted one token of each sequence, of 3 heads"),
    (10, 3, "numKeyValueHeads 3"),
    (11, 0, "selectBlockSize is 0, selectBlockCount 2, wanted 1 or more"),
    (12, 0, "selectBlockSize is 4, selectBlockCount 0"),
    (13, 5, "pageBlockSize is 5"),
    (15, 2, "sparseMode is 2, wanted 0"),
    (16, torch.empty(2, 4, 7), "output is float32[2,1,4,7]"),
    (16, None, "output is null"),
)


def refused(name: str, good: list[Any], wrong: tuple[tuple[int, Any, str], ...]) -> None:
    call(name, *good)
    for at, bad, text in wrong:
        with pytest.raises(OperatorError, match=f"{name}: ") as e:
            call(name, *good[:at], bad, *good[at + 1 :])
        assert text in e.value.text, (text, e.value.text)


def test_compressed_refuses() -> None:
    refused(
        COMPRESS,
        [Q, CACHE, CACHE, None, TABLE, None, IntArray([20, 3]), None, None, 4, 2, 64, 1, 32, 16, 1.0, "TND", 16, 0,
         torch.empty_like(Q), torch.empty(2, 2, 1).int()],
        WRONG_COMPRESS,
    )  # fmt: skip


def test_selected_refuses() -> None:
    """A block as large as a number can be is one that holds all of a sequence."""
    good = [Q, CACHE, CACHE, torch.zeros(2, 2, 2).int(), None, TABLE, None, IntArray([20, 3]), "TND", 4, 2, 4, 2, 16, 1.0,
            0, torch.empty_like(Q)]  # fmt: skip
    refused(SELECT, good, WRONG_SELECT)
    call(SELECT, *good[:11], 2**63 - 1, *good[12:])
    assert_close(good[16], torch.ones(2, 4, 8).double(), 16)
