# SPDX-License-Identifier: Apache-2.0
"""Attention over compressed keys and the choice of blocks, in training, against float64 and the paper's sum."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from aclnn import IntArray, OperatorError, call
from compare import assert_close, make

NAME = "aclnnNsaCompressAttention"
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
LARGEST = torch.finfo(torch.float32).max
SCALE = 0.3
# lengths of queries, of compressed keys and numbers of blocks; heads of queries and of keys; sizes of q and v;
# (compressed, stride, selected, count)
CASES: tuple[tuple[Any, ...], ...] = (
    ((5,), (9,), (3,), 4, 1, 16, 24, (32, 16, 64, 2)),
    ((3, 0, 40), (8, 3, 41), (2, 1, 11), 6, 3, 7, 5, (32, 16, 64, 4)),
    ((1, 2), (70, 1), (70, 2), 2, 2, 16, 16, (16, 16, 16, 3)),
    ((2,), (31,), (6,), 8, 2, 9, 9, (48, 16, 80, 6)),
    ((4,), (0,), (0,), 2, 1, 8, 8, (32, 16, 64, 2)),
)  # fmt: skip


def ends(lengths: tuple[int, ...]) -> IntArray:
    return IntArray(torch.tensor(lengths).cumsum(0).tolist())


def importance(weights: torch.Tensor, blocks: int, sizes: tuple[int, ...]) -> torch.Tensor:
    """Equation 9 of the paper: the sums of blocks, of weights [.., keys]."""
    steps, overlap, keys = sizes[2] // sizes[1], sizes[0] // sizes[1], weights.shape[-1]
    sums = torch.zeros(*weights.shape[:-1], blocks, dtype=torch.float64)
    for j in range(blocks):
        for a in range(steps):
            for b in range(overlap):
                key = steps * (j + 1) - a - b
                if 0 <= key < keys:
                    sums[..., j] += weights[..., key]
    return sums


def expect_chosen(got: torch.Tensor, sums: torch.Tensor) -> None:
    """The largest sums in descending order, of near ones whichever; -1 where there are no more blocks."""
    count = min(got.shape[-1], sums.shape[-1])
    for row, wanted in zip(got.flatten(0, -2).tolist(), sums.flatten(0, -2), strict=True):
        chosen = row[:count]
        assert len(set(chosen)) == count and all(0 <= i < len(wanted) for i in chosen)
        assert row[count:] == [-1] * (len(row) - count)
        best = wanted.sort(descending=True, stable=True)
        torch.testing.assert_close(wanted[chosen], best.values[:count], rtol=1e-4, atol=1e-5)


def causal(rows: int, keys: int, sizes: tuple[int, ...]) -> torch.Tensor:
    """A token sees compressed keys whose last token is before it; the first ones see none."""
    last = torch.arange(keys) * sizes[1] + sizes[0] - 1
    return last[None, :] > torch.arange(rows)[:, None] * 16


@pytest.mark.parametrize("masks", ["", "keys", "blocks", "both"])
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_compressed(dtype: torch.dtype, case: tuple[Any, ...], masks: str) -> None:
    queries, keys, blocks, heads, groups, size, values, sizes = case
    t, s, count, each = sum(queries), sum(keys), sizes[3], heads // groups
    q, k = make((t, heads, size), dtype, 1, -1, 1), make((s, groups, size), dtype, 2, -1, 1)
    v = make((s, groups, values), dtype, 4, -1, 1)
    mask = causal(max(queries) + 1, max(keys) + 2, sizes) if masks in ("keys", "both") else None
    chosen = torch.eye(max(queries), max(blocks) + 1).bool() if masks in ("blocks", "both") else None
    if chosen is not None:
        chosen[:, :1] = True
    out = torch.full((t, heads, values), 7, dtype=dtype)
    indices = torch.full((t, groups, count), 7, dtype=torch.int32)
    top, total = torch.full((t, heads, 8), 7.0), torch.full((t, heads, 8), 7.0)
    call(
        NAME, q, k, v, mask, None if chosen is None else chosen.to(torch.uint8), ends(queries), ends(keys),
        ends(blocks), SCALE, heads, "TND", 1, *sizes, top, total, out, indices,
    )  # fmt: skip
    at_q = at_k = 0
    for n, length, number in zip(queries, keys, blocks, strict=True):
        rows, seen = slice(at_q, at_q + n), slice(at_k, at_k + length)
        wide_k, wide_v = (x[seen].double().repeat_interleave(each, 1) for x in (k, v))
        score = torch.einsum("ihd,jhd->hij", q[rows].double(), wide_k) * SCALE
        if mask is not None:
            score = score.masked_fill(mask[:n, :length], -float("inf"))
        weights = score.softmax(-1).nan_to_num(0)
        assert_close(out[rows], torch.einsum("hij,jhd->ihd", weights, wide_v), 1, 2e-5)
        sums = importance(weights.view(groups, each, n, length).sum(1).transpose(0, 1), number, sizes)
        if chosen is not None:
            sums = sums.masked_fill(chosen[:n, None, :number], 1e4)
        expect_chosen(indices[rows], sums)
        none = torch.isinf(score).all(-1) if length else torch.ones(heads, n, dtype=torch.bool)
        largest = score.max(-1).values if length else torch.zeros(heads, n, dtype=torch.float64)
        sum_of = (score - largest[..., None]).exp().sum(-1)
        for got, want in (
            (top, largest.masked_fill(none, -LARGEST)),
            (total, sum_of.masked_fill(none, LARGEST)),
        ):
            at = got.flatten()[at_q * heads * 8 :][: n * heads * 8].view(heads, n, 8)
            assert_close(at, want[..., None].expand(-1, -1, 8), 4, 2e-5)
        at_q, at_k = at_q + n, at_k + length


def test_equal_sums_are_chosen_in_order() -> None:
    """One key sees all the weight; of blocks without any the first come first."""
    q, k = torch.zeros(1, 1, 4), torch.zeros(20, 1, 4)
    q[0, 0, 0], k[13, 0, 0] = 100, 100
    indices, stats = torch.zeros(1, 1, 4, dtype=torch.int64), [torch.empty(1, 1, 8) for _ in range(2)]
    call(NAME, q, k, k, None, None, IntArray([1]), IntArray([20]), IntArray([5]), 1.0, 1, "TND", 1, 32, 16, 64, 4,
         *stats, torch.empty_like(q), indices)  # fmt: skip
    # key 13 is one of the sum of block 3 alone: keys 11 to 15, in twos but at the ends, and 16
    assert indices.tolist() == [[[3, 0, 1, 2]]]


def test_gradients_are_those_of_flash_attention() -> None:
    """torch_npu computes them by its backward operator, from this one's result and statistics."""
    queries, keys, heads, groups, size = (3, 4), (5, 2), 4, 2, 8
    q, k = make((7, heads, size), torch.float32, 1, -1, 1), make((7, groups, size), torch.float32, 2, -1, 1)
    v, g = make((7, groups, size), torch.float32, 3, -1, 1), make((7, heads, size), torch.float32, 4, -1, 1)
    mask = torch.ones(4, 5).triu(2).bool()
    top, total, out = torch.empty(7, heads, 8), torch.empty(7, heads, 8), torch.empty_like(q)
    call(NAME, q, k, v, mask, None, ends(queries), ends(keys), ends((2, 1)), SCALE, heads, "TND", 1, 32, 16, 64, 1,
         top, total, out, torch.empty(7, groups, 1, dtype=torch.int32))  # fmt: skip
    grads = [torch.empty_like(x) for x in (q, k, v)]
    call("aclnnFlashAttentionUnpaddingScoreGrad", q, k, v, g, None, None, None, mask, top, total, None, out, None,
         ends(queries), ends(keys), SCALE, 1.0, 2**31 - 1, 2**31 - 1, heads, "TND", 0, 1, *grads,
         torch.empty(0))  # fmt: skip
    wide = [x.double().requires_grad_() for x in (q, k, v)]
    parts = []
    for i, (rows, seen) in enumerate(((slice(0, 3), slice(0, 5)), (slice(3, 7), slice(5, 7)))):
        keys_of, values_of = (x[seen].repeat_interleave(2, 1) for x in wide[1:])
        score = torch.einsum("ihd,jhd->hij", wide[0][rows], keys_of) * SCALE
        score = score.masked_fill(mask[: queries[i], : keys[i]], -float("inf"))
        parts.append(torch.einsum("hij,jhd->ihd", score.softmax(-1), values_of))
    want = torch.autograd.grad(torch.cat(parts), wide, g.double())
    for got, expected in zip(grads, want, strict=True):
        assert_close(got, expected, 4, 2e-5)


def test_views_and_specials() -> None:
    """Strided operands and outputs; NaN in a query spoils its rows alone."""
    sizes = (32, 16, 64, 2)
    q, k = make((3, 2, 8), torch.float32, 1, -1, 1), make((9, 1, 8), torch.float32, 2, -1, 1)
    q[1, 0, 0] = float("nan")

    def run(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        stats = [torch.empty(3, 2, 8) for _ in range(2)]
        indices = torch.empty(3, 1, 2, dtype=torch.int32)
        call(NAME, a, b, b, None, None, IntArray([3]), IntArray([9]), IntArray([3]), SCALE, 2, "TND", 0, *sizes,
             *stats, out, indices)  # fmt: skip
        return indices

    plain, strided = torch.empty_like(q), torch.empty(8, 2, 3).permute(2, 1, 0)
    indices = run(q, k, plain)
    other = run(q.permute(2, 1, 0).contiguous().permute(2, 1, 0), k.expand(9, 2, 8)[:, 1:], strided)
    torch.testing.assert_close(strided, plain, equal_nan=True, rtol=0, atol=0)
    assert torch.equal(indices, other)
    assert plain[1, 0].isnan().all() and not plain[[0, 2]].isnan().any() and not plain[1, 1].isnan().any()


def test_refuses() -> None:
    q, k = torch.ones(3, 2, 8), torch.ones(4, 1, 8)
    good: list[Any] = [
        q, k, k, None, None, IntArray([3]), IntArray([4]), IntArray([1]), 1.0, 2, "TND", 1, 32, 16, 64, 1,
        torch.empty(3, 2, 8), torch.empty(3, 2, 8), torch.empty_like(q), torch.empty(3, 1, 1, dtype=torch.int32),
    ]  # fmt: skip
    call(NAME, *good)
    wrong: tuple[tuple[int, Any, str], ...] = (
        (0, None, "query is null"),
        (0, torch.ones(3, 2), "query is float32[3,2]"),
        (1, torch.ones(4, 1, 9), "key is float32[4,1,9]"),
        (1, torch.ones(4, 3, 8), "value is float32[4,1,8], wanted float32, bfloat16 or float16 [any,3,any]"),
        (2, torch.ones(5, 1, 8), "key is float32[4,1,8] and value float32[5,1,8], wanted as many rows"),
        (2, None, "value is null"),
        (3, torch.zeros(3, 4), "attenMaskOptional is float32[3,4], wanted bool or uint8 of 2 dimensions"),
        (3, torch.zeros(2, 4).bool(), "attenMaskOptional is bool[2,4], wanted [3,4] or more"),
        (4, torch.zeros(3).bool(), "topkMaskOptional is bool[3]"),
        (4, torch.zeros(3, 0).bool(), "topkMaskOptional is bool[3,0], wanted [3,1] or more"),
        (5, None, "actualSeqQLenOptional is null"),
        (5, IntArray([]), "actualSeqQLenOptional is null or empty"),
        (5, IntArray([4]), "the actual length of the queries has 4 at 0"),
        (5, IntArray([-(2**63)]), "the actual length of the queries has -9223372036854775808"),
        (5, IntArray([1, 3]), "actualSeqQLenOptional has 2 sequences, actualCmpSeqKvLenOptional 1"),
        (6, None, "actualCmpSeqKvLenOptional is null"),
        (6, IntArray([5]), "the actual length of the keys has 5 at 0"),
        (7, None, "actualSelSeqKvLenOptional is null"),
        (7, IntArray([-1]), "actualSelSeqKvLenOptional has -1 at 0, wanted ends that do not fall"),
        (7, IntArray([6]), "sequence 0 has 6 blocks and 4 compressed keys"),
        (7, IntArray([2**63 - 1]), "sequence 0 has 9223372036854775807 blocks"),
        (9, 3, "query is float32[3,2,8] and headNum 3"),
        (10, "BSND", "TND is supported"),
        (11, 2, "sparseMode is 2, wanted 0 or 1"),
        (12, 8, "selectBlockSize is 64, compressBlockSize 8 and the stride 16"),
        (13, 0, "compressBlockSize 32 and the stride 0"),
        (14, 72, "selectBlockSize is 72"),
        (14, 2**62, "selectBlockSize is 4611686018427387904"),
        (15, 0, "selectBlockCount is 0, wanted 1 or more"),
        (16, torch.empty(3, 2, 1), "softmaxMaxOut is"),
        (17, None, "softmaxSumOut is null"),
        (18, torch.empty(3, 2, 9), "attentionOutOut is float32[3,2,9]"),
        (19, torch.empty(3, 1, 1), "topkIndicesOut is float32[3,1,1], wanted int32 or int64 [3,1,1]"),
    )
    for at, bad, text in wrong:
        with pytest.raises(OperatorError, match=f"{NAME}: ") as e:
            call(NAME, *good[:at], bad, *good[at + 1 :])
        assert text in e.value.text, e.value.text
