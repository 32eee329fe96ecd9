# SPDX-License-Identifier: Apache-2.0
"""Attention over selected blocks of keys, and its gradients, against autograd in float64."""

from __future__ import annotations

import pytest
import torch
from aclnn import IntArray, OperatorError, call
from compare import assert_close, make

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
ATOL = {torch.float32: 2e-5, torch.bfloat16: 2e-2, torch.float16: 3e-3}
# lengths of queries and of keys, heads of queries and of keys, block, count
CASES = (((5,), (9,), 4, 1, 4, 2), ((3, 0, 4), (8, 3, 4), 6, 3, 2, 3), ((1, 2), (70, 5), 2, 2, 64, 1))
SIZE, VALUES, SCALE = 16, 24, 0.3


def ends(lengths: tuple[int, ...]) -> IntArray:
    return IntArray(torch.tensor(lengths).cumsum(0).tolist())


def choose(
    queries: tuple[int, ...], keys: tuple[int, ...], groups: int, block: int, count: int
) -> torch.Tensor:
    g = torch.Generator().manual_seed(3)
    rows = []
    for n, k in zip(queries, keys, strict=True):
        blocks = (k + block - 1) // block
        for _ in range(n * groups):
            picked = torch.randperm(blocks, generator=g)[:count]
            rows.append(torch.cat((picked, torch.full((count - len(picked),), -1))))
    return torch.stack(rows).view(-1, groups, count).int()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_selected(dtype: torch.dtype, case: tuple, causal: bool) -> None:
    queries, keys, heads, groups, block, count = case
    t, s = sum(queries), sum(keys)
    q, k = make((t, heads, SIZE), dtype, 1, -1, 1), make((s, groups, SIZE), dtype, 2, -1, 1)
    v, g = make((s, groups, VALUES), dtype, 4, -1, 1), make((t, heads, VALUES), dtype, 5, -1, 1)
    chosen = choose(queries, keys, groups, block, count)
    mask = torch.ones(max(queries), max(keys)).triu(1).bool() if causal else None
    wide = [x.double().requires_grad_() for x in (q, k, v)]
    want = torch.zeros(t, heads, VALUES, dtype=torch.float64)
    stats = torch.zeros(2, t, heads, dtype=torch.float64)
    stats[0] = -float("inf")
    at_q = at_k = 0
    for n, length in zip(queries, keys, strict=True):
        for i in range(n):
            for h in range(heads):
                row, group = at_q + i, h // (heads // groups)
                seen = min(i + 1, length) if causal else length
                at = [
                    j
                    for b in chosen[row, group].tolist()
                    if b >= 0
                    for j in range(b * block, min((b + 1) * block, seen))
                ]
                if not at:
                    continue
                index = torch.tensor(at) + at_k
                score = wide[1][index, group] @ wide[0][row, h] * SCALE
                want[row, h] = score.softmax(0) @ wide[2][index, group]
                stats[0, row, h], stats[1, row, h] = (
                    score.max().detach(),
                    (score - score.max()).exp().sum().detach(),
                )
        at_q, at_k = at_q + n, at_k + length
    out, top, total = torch.full_like(g, 7), torch.full((t, heads, 8), 7.0), torch.full((t, heads, 8), 7.0)
    lengths = (ends(queries), ends(keys))
    call(
        "aclnnNsaSelectedAttention",
        q,
        k,
        v,
        chosen,
        mask,
        *lengths,
        SCALE,
        heads,
        "TND",
        2,
        block,
        count,
        top,
        total,
        out,
    )
    assert_close(out, want.detach(), 1, 1e-5)
    for got, expected in ((top, stats[0]), (total, stats[1])):
        assert_close(got, expected[..., None].expand(-1, -1, 8), 4, 2e-5)
    grads = [torch.full_like(x, 7) for x in (q, k, v)]
    call("aclnnNsaSelectedAttentionGrad", q, k, v, out, g, top, total, chosen, *lengths, mask, SCALE, block, count, heads,
         "TND", 2, *grads)  # fmt: skip
    for got, expected in zip(grads, torch.autograd.grad(want, wide, g.double()), strict=True):
        assert_close(got, expected, 2, ATOL[dtype])


def test_refuses() -> None:
    q, k, index = torch.ones(3, 2, 8), torch.ones(4, 1, 8), torch.zeros(3, 1, 1, dtype=torch.int32)
    stats = [torch.empty(3, 2, 8), torch.empty(3, 2, 8)]
    good = [
        q,
        k,
        k,
        index,
        None,
        IntArray([3]),
        IntArray([4]),
        1.0,
        2,
        "TND",
        2,
        2,
        1,
        *stats,
        torch.empty_like(q),
    ]
    call("aclnnNsaSelectedAttention", *good)
    for at, bad, text in (
        (1, torch.ones(4, 1, 9), "key is"),
        (3, index + 2, "topkIndices has 2 for token 0, wanted -1 to 1"),
        (4, torch.ones(3), "attenMaskOptional is"),
        (4, torch.zeros(3, 4).bool(), "attenMaskOptional is no causal mask at [0,1]"),
        (5, IntArray([4]), "the actual length of the queries has 4"),
        (6, IntArray([2, 4]), "actualSeqQLenOptional has 1 sequences"),
        (6, None, "actualSeqKvLenOptional is null"),
        (8, 3, "headNum 3"),
        (9, "BSND", "TND is supported"),
        (10, 1, "sparseMode is 1"),
        (12, 2, "topkIndices is"),
        (13, torch.empty(3, 2, 1), "softmaxMaxOut is"),
    ):
        with pytest.raises(OperatorError, match="aclnnNsaSelectedAttention: ") as e:
            call("aclnnNsaSelectedAttention", *good[:at], bad, *good[at + 1 :])
        assert text in e.value.text
