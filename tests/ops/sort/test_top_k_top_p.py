# SPDX-License-Identifier: Apache-2.0
"""Filters of logits and samples from what they leave, against the same in torch on the CPU."""

from __future__ import annotations

import pytest
import torch
from aclnn import OperatorError, call
from compare import layouts, make

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
SHAPES = ((1, 1), (3, 7), (4, 1031), (2, 15206))
INF = float("inf")


def filtered(logits: torch.Tensor, p: torch.Tensor | None, k: torch.Tensor | None) -> torch.Tensor:
    values, at = logits.float().sort(dim=-1, stable=True)
    if k is not None:
        worst = values.gather(1, values.shape[1] - k.long()[:, None])
        values = values.masked_fill(values < worst, -INF)
    if p is not None:
        drop = values.softmax(-1).cumsum(-1) <= 1 - p.float()[:, None]
        drop[:, -1] = False
        values = values.masked_fill(drop, -INF)
    return torch.empty_like(values).scatter_(-1, at, values).to(logits.dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_apply(shape: tuple[int, int], dtype: torch.dtype) -> None:
    rows, n = shape
    g = torch.Generator().manual_seed(n)
    p = torch.rand(rows, generator=g).to(dtype)
    k = torch.randint(1, min(n, 900) + 1, (rows,), generator=g, dtype=torch.int32)
    for _, logits in layouts(make(shape, dtype, 3)):
        for top_p, top_k in ((p, k), (None, k), (p, None), (None, None)):
            out = torch.empty(shape, dtype=dtype)
            call("aclnnApplyTopKTopP", logits, top_p, top_k, out)
            want = filtered(logits, top_p, top_k)
            # A sum within a rounding of the limit may fall on its other side: one token of a row.
            assert ((out != want).sum(1) <= 1).all()
            kept = out > -INF
            assert torch.equal(out[kept], logits[kept])


def test_apply_ties_limits_and_nan() -> None:
    logits = torch.tensor([[1.0, 3, 3, 3, 0], [1, 2, 3, 4, 5], [1, 2, 3, float("nan"), 5]])
    out = torch.empty_like(logits)
    call("aclnnApplyTopKTopP", logits, None, torch.tensor([2, 5, 2]), out)
    assert out[0].tolist() == [-INF, 3, 3, 3, -INF] and torch.equal(out[1], logits[1])
    call("aclnnApplyTopKTopP", logits, torch.tensor([1.0, 0, 0.5]), None, out)
    assert torch.equal(out[0], logits[0]) and out[1].tolist() == [-INF] * 4 + [5]
    call("aclnnApplyTopKTopP", logits, torch.tensor([1.0, 0, 0.5]), None, logits)  # in place
    assert torch.equal(out[:2], logits[:2])
    for k, text in ((torch.tensor([0, 1, 1]), "k has 0 at 0"), (torch.tensor([1, 6, 1]), "k has 6 at 1")):
        with pytest.raises(OperatorError, match="aclnnApplyTopKTopP") as e:
            call("aclnnApplyTopKTopP", logits, None, k, out)
        assert text in e.value.text
    call("aclnnApplyTopKTopP", torch.empty(0, 5), None, None, torch.empty(0, 5))


def candidates(
    x: torch.Tensor, k: int, p: float, min_p: float, k_max: int, is_logits: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions and probabilities of what the filters leave of a row."""
    by_k, by_p = 1 <= k <= min(k_max, len(x)), p < 1
    values, at = x.float().sort(descending=True, stable=True)
    if by_k:
        values, at = values[:k], at[:k]
    if not by_k and not by_p and min_p < 1:
        values, at = x.float(), torch.arange(len(x))
    probs = values.softmax(-1) if is_logits else values
    if by_p:
        keep = (probs.double().cumsum(-1) - probs.double()).float() < p
        keep[0] = True
        probs, at = probs[keep].clone(), at[keep]
        if p <= 0 and is_logits:
            probs[0] = 1
    if min_p >= 1:
        return at[:1], probs[:1]
    if min_p > 0:
        keep = probs >= probs.max() * min_p
        probs, at = probs[keep], at[keep]
    return at, probs


@pytest.mark.parametrize("with_min_p", [False, True])
@pytest.mark.parametrize("is_logits", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_sample(dtype: torch.dtype, is_logits: bool, with_min_p: bool) -> None:
    n, k_max = 300, 60
    tops = [
        (k, p, m)
        for k in (0, 1, 17, 64, 65)
        for p in (-1.0, 0.0, 0.25, 0.75, 1.0, 2.0)
        for m in (-1.0, 0.25, 1.0)
    ]
    rows = len(tops)
    k, p, m = (
        torch.tensor([t[0] for t in tops]),
        torch.tensor([t[1] for t in tops]),
        torch.tensor([t[2] for t in tops]),
    )
    logits = (
        make((rows, n), dtype, 1, 0, 6)
        if is_logits
        else make((rows, n), torch.float32, 1).softmax(-1).to(dtype)
    )
    q = make((rows, n), torch.float32, 2, 0.01, 3)
    # Distinct values: among equal ones the bits of a softmax decide.
    logits = logits + torch.zeros_like(logits)
    for weights in (None, q):
        for sample in (False, True):
            token, select = torch.full((rows,), -7), torch.full((rows, n), 7.0)
            index, ordered = torch.full((rows, n), -7), torch.full((rows, n), 7.0)
            call("aclnnTopKTopPSampleV2", logits, k, p.to(dtype), weights, m.to(dtype) if with_min_p else None, 1e-8,
                 True, 32, k_max, is_logits, sample, token, select, index, ordered)  # fmt: skip
            for r in range(rows):
                at, probs = candidates(
                    logits[r], int(k[r]), float(p[r]), float(m[r]) if with_min_p else -1, 64, is_logits
                )
                got = (select[r] > -INF) & (select[r] != 0) if is_logits else select[r] != 0
                expected = torch.zeros(n, dtype=torch.bool).index_fill_(0, at, True)
                assert (got != expected).sum() <= 1, (r, tops[r])
                if (got != expected).any():
                    continue
                if sample:
                    assert torch.equal(index[r, : len(at)].sort()[0], at.sort()[0])
                    assert torch.allclose(ordered[r, : len(at)], probs, rtol=1e-5)
                    assert (index[r, len(at) :] == 0).all() and (ordered[r, len(at) :] == 0).all()
                    continue
                score = probs if weights is None else probs / (q[r, : len(at)].abs() + 1e-8)
                chosen = (at == token[r]).nonzero()
                assert len(chosen) == 1 and score[chosen[0, 0]] >= score.max() * (1 - 1e-5)


def test_sample_first_version_and_errors() -> None:
    logits = torch.tensor([[1.0, 5, 2], [7, 1, 2]])
    token, select = torch.empty(2, dtype=torch.int64), torch.full((2, 3), 7.0)
    one = torch.ones(2)
    call("aclnnTopKTopPSample", logits, torch.tensor([2, 2]), one, None, 1e-8, False, 32, token, select)
    assert token.tolist() == [1, 0] and (select == 7).all()
    call("aclnnTopKTopPSample", logits, torch.tensor([2, 2]), one, None, 1e-8, True, 32, token, select)
    assert select.tolist() == [[-INF, 5, 2], [7, -INF, 2]]
    with pytest.raises(OperatorError, match="topK is int64"):
        call("aclnnTopKTopPSample", logits, torch.tensor([2]), one, None, 1e-8, False, 32, token, select)
    with pytest.raises(OperatorError, match="ksMax is 2000"):
        call("aclnnTopKTopPSampleV2", logits, torch.tensor([2, 2]), one, None, None, 1e-8, False, 32, 2000, True,
             False, token, select, None, None)  # fmt: skip
