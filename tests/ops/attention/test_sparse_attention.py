# SPDX-License-Identifier: Apache-2.0
"""The lightning indexer, attention over the tokens it chooses, their gradients and losses, against float64."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import pytest
import torch
from aclnn import IntArray, OperatorError, call
from compare import assert_close, make

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
ATOL = {torch.float32: 2e-5, torch.bfloat16: 2e-2, torch.float16: 3e-3}
FAR = 2**63 - 1
PAGE = 4


@dataclass(frozen=True)
class Case:
    """Sequences of one call: lengths of queries and keys."""

    layout: str
    queries: tuple[int, ...]
    keys: tuple[int, ...]

    @property
    def packed(self) -> bool:
        return self.layout == "TND"

    def pack(self, rows: list[torch.Tensor], lengths: tuple[int, ...]) -> torch.Tensor:
        """Tensors [length, ...] of each sequence, as the layout has them."""
        if self.packed:
            return torch.cat(rows)
        out = make((len(rows), max(lengths), *rows[0].shape[1:]), rows[0].dtype, 99)
        for i, r in enumerate(rows):
            out[i, : len(r)] = r
        return out

    def unpack(self, t: torch.Tensor, lengths: tuple[int, ...]) -> list[torch.Tensor]:
        return list(t.split(list(lengths))) if self.packed else [t[i, :n] for i, n in enumerate(lengths)]

    def lengths(self, lengths: tuple[int, ...], ends: bool | None = None) -> torch.Tensor:
        t = torch.tensor(lengths, dtype=torch.int32)
        return t.cumsum(0).int() if (self.packed if ends is None else ends) else t


CASES = (
    Case("BSND", (5, 5), (9, 9)),
    Case("BSND", (3, 0, 2), (7, 4, 9)),
    Case("TND", (3, 0, 4), (6, 2, 4)),
    Case("TND", (1,), (70,)),
)


def rows(
    lengths: tuple[int, ...], shape: tuple[int, ...], dtype: torch.dtype, seed: int
) -> list[torch.Tensor]:
    return [make((n, *shape), dtype, seed + 10 * i, -1, 1) for i, n in enumerate(lengths)]


def paged(keys: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys in pages, in an order of their own, and the table."""
    width = max((len(k) + PAGE - 1) // PAGE for k in keys)
    table = torch.randperm(len(keys) * width, generator=torch.Generator().manual_seed(1)).view(
        len(keys), width
    )
    cache = torch.full((len(keys) * width, PAGE, *keys[0].shape[1:]), 7, dtype=keys[0].dtype)
    for i, k in enumerate(keys):
        for j in range(len(k)):
            cache[table[i, j // PAGE], j % PAGE] = k[j]
    return cache, table.int()


def visible(case: Case, i: int, t: int, mode: int) -> int:
    return case.keys[i] if mode == 0 else max(case.keys[i] - case.queries[i] + t + 1, 0)


def scores(q: torch.Tensor, k: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return torch.einsum("thj,th->tj", torch.einsum("thd,jd->thj", q, k[:, 0]).relu(), w)


@pytest.mark.parametrize("pages", [False, True])
@pytest.mark.parametrize("mode", [0, 3])
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_indexer(dtype: torch.dtype, case: Case, mode: int, pages: bool) -> None:
    heads, size = 8, 16
    q, k = rows(case.queries, (heads, size), dtype, 1), rows(case.keys, (1, size), dtype, 2)
    w = rows(case.queries, (heads,), dtype, 3)
    for count in (1, 3, 16):
        query, weights = case.pack(q, case.queries), case.pack(w, case.queries)
        key, table = paged(k) if pages else (case.pack(k, case.keys), None)
        shape = (*query.shape[:-2], 1, count)
        index, value = torch.full(shape, -7, dtype=torch.int32), torch.full(shape, 7, dtype=dtype)
        call("aclnnLightningIndexer", query, key, weights, case.lengths(case.queries),
             case.lengths(case.keys, case.packed and not pages), table, case.layout, "PA_BSND" if pages else case.layout,
             count, mode, FAR, FAR, True, index, value)  # fmt: skip
        for i, (got, values) in enumerate(
            zip(case.unpack(index, case.queries), case.unpack(value, case.queries), strict=True)
        ):
            want = scores(q[i].double(), k[i].double(), w[i].double())
            for t in range(case.queries[i]):
                n = min(visible(case, i, t, mode), count)
                at = got[t, 0, :n].long()
                assert (got[t, 0, n:] == -1).all() and (values[t, 0, n:] == -float("inf")).all()
                assert len(set(at.tolist())) == n and (at < visible(case, i, t, mode)).all()
                best = want[t, : visible(case, i, t, mode)].sort(descending=True)[0][:n]
                assert_close(want[t][at], best, 1, 1e-5)
                assert_close(values[t, 0, :n], best, 1, 1e-5)
        assert case.packed or (index[:, max(case.queries) :] == -1).all()


@pytest.mark.parametrize("pages", [False, True])
@pytest.mark.parametrize("mode", [0, 3])
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("stored", [torch.int8, torch.float8_e4m3fn], ids=str)
def test_quantised_indexer(stored: torch.dtype, case: Case, mode: int, pages: bool) -> None:
    """The indexer over what the scales make of queries and keys, in the order of exact scores."""
    heads, size, dtype = 8, 16, torch.float16
    q = [(t * 100).to(stored) for t in rows(case.queries, (heads, size), torch.float32, 1)]
    k = [(t * 100).to(stored) for t in rows(case.keys, (1, size), torch.float32, 2)]
    w = rows(case.queries, (heads,), dtype, 3)
    by_q = [t.abs() for t in rows(case.queries, (heads,), dtype, 4)]
    by_k = [t.abs() for t in rows(case.keys, (1,), dtype, 5)]

    def pack(parts: list[torch.Tensor], lengths: tuple[int, ...]) -> torch.Tensor:
        if stored == torch.int8 or parts[0].dtype != stored:
            return case.pack(parts, lengths)
        return case.pack([t.view(torch.int8) for t in parts], lengths).view(stored)

    for count in (1, 3, 16):
        query, weights, q_scale = (
            pack(q, case.queries),
            case.pack(w, case.queries),
            case.pack(by_q, case.queries),
        )
        if pages:
            key, table = paged([t.view(torch.int8) for t in k])
            key, k_scale = key.view(stored), paged(by_k)[0]
        else:
            key, k_scale, table = pack(k, case.keys), case.pack(by_k, case.keys), None
        index = torch.full((*query.shape[:-2], 1, count), -7, dtype=torch.int32)
        call("aclnnQuantLightningIndexer", query, key, weights, q_scale, k_scale, case.lengths(case.queries),
             case.lengths(case.keys, case.packed and not pages), table, 0, 0, case.layout,
             "PA_BSND" if pages else case.layout, count, mode, FAR, FAR, index)  # fmt: skip
        for i, got in enumerate(case.unpack(index, case.queries)):
            want = (
                scores(q[i].double(), k[i].double(), w[i].double() * by_q[i].double())
                * by_k[i].double()[:, 0]
            )
            for t in range(case.queries[i]):
                n = min(visible(case, i, t, mode), count)
                at = got[t, 0, :n].long()
                assert (got[t, 0, n:] == -1).all()
                assert len(set(at.tolist())) == n and (at < visible(case, i, t, mode)).all()
                best = want[t, : visible(case, i, t, mode)].sort(descending=True)[0][:n]
                assert_close(want[t][at], best, 1, 1e-6 * max(1.0, float(want.abs().max())))


def test_quantised_indexer_refuses() -> None:
    q, k, w = (
        torch.ones(1, 2, 4, 8, dtype=torch.int8),
        torch.ones(1, 3, 1, 8, dtype=torch.int8),
        torch.ones(1, 2, 4),
    )
    index, by_k = torch.zeros(1, 2, 1, 2, dtype=torch.int32), torch.ones(1, 3, 1)
    good = [q, k, w, w, by_k, None, None, None, 0, 0, "BSND", "BSND", 2, 3, FAR, FAR, index]
    call("aclnnQuantLightningIndexer", *good)
    for at, bad, text in (
        (0, None, "query is null"),
        (0, q.float(), "query is float32"),
        (0, q[0], "query is int8[2,4,8], wanted 4 dimensions"),
        (1, None, "key is null"),
        (1, torch.ones(1, 3, 2, 8, dtype=torch.int8), "key is int8[1,3,2,8]"),
        (1, k.to(torch.float8_e4m3fn), "key is float8_e4m3fn"),
        (2, None, "weights is null"),
        (3, None, "queryDequantScale is null"),
        (3, torch.ones(1, 2, 3), "queryDequantScale is"),
        (4, None, "keyDequantScale is null"),
        (4, torch.ones(1, 3), "keyDequantScale is"),
        (5, torch.tensor([3]), "the actual length of the queries has 3"),
        (8, 1, "queryQuantMode is 1"),
        (9, 2, "keyQuantMode 2"),
        (11, "PA_BSND", "actualSeqLengthsKeyOptional is null"),
        (16, None, "out is null"),
        (16, index[..., :1], "out is int32[1,2,1,1]"),
    ):
        with pytest.raises(OperatorError, match="aclnnQuantLightningIndexer") as e:
            call("aclnnQuantLightningIndexer", *good[:at], bad, *good[at + 1 :])
        assert text in e.value.text, e.value.text


def choose(case: Case, count: int, block: int = 1) -> list[torch.Tensor]:
    """Distinct blocks of keys for each token, -1 behind some of them; also ones that the token may not see."""
    g = torch.Generator().manual_seed(4)
    chosen = []
    for n, keys in zip(case.queries, case.keys, strict=True):
        blocks = (keys + block - 1) // block
        t = torch.full((n, 1, count), -1, dtype=torch.int32)
        for i in range(n):
            m = min(blocks, count - i % 2)
            t[i, 0, :m] = torch.randperm(blocks, generator=g)[:m]
        chosen.append(t)
    return chosen


def attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    at: torch.Tensor,
    scale: float,
    sinks: torch.Tensor | None,
):  # type: ignore[no-untyped-def]
    """One token, heads [H, E], over keys `at`: output, maximum and sum."""
    s = q @ k[at, 0].T * scale
    if sinks is not None:
        s = torch.cat((s, sinks[:, None]), 1)
    top = s.max(1)[0]
    p = (s - top[:, None]).exp()
    total = p.sum(1)
    return (p / total[:, None])[:, : len(at)] @ v[at, 0], top, total


def positions(case: Case, i: int, t: int, chosen: torch.Tensor, block: int, mode: int) -> torch.Tensor:
    seen = visible(case, i, t, mode)
    picked = [j for b in chosen.tolist() if b >= 0 for j in range(b * block, min((b + 1) * block, seen))]
    return torch.tensor(picked, dtype=torch.int64)


@pytest.mark.parametrize("pages", [False, True])
@pytest.mark.parametrize("rotary", [0, 8])
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_attention(dtype: torch.dtype, case: Case, rotary: int, pages: bool) -> None:
    heads, size, values, scale, count = 4, 32, 24, 0.3, 3
    q, k = rows(case.queries, (heads, size), dtype, 1), rows(case.keys, (1, size), dtype, 2)
    v = rows(case.keys, (1, values), dtype, 3)
    qr, kr = rows(case.queries, (heads, rotary), dtype, 4), rows(case.keys, (1, rotary), dtype, 5)
    sinks = make((heads,), torch.float32, 6)
    for mode, block, with_sinks in ((3, 1, False), (0, 1, False), (3, 4, True), (0, 2, True)):
        chosen = choose(case, count, block)
        query = case.pack(q, case.queries)
        key, table = paged(k) if pages else (case.pack(k, case.keys), None)
        value = paged(v)[0] if pages else case.pack(v, case.keys)
        q_rope = case.pack(qr, case.queries) if rotary else None
        k_rope = (paged(kr)[0] if pages else case.pack(kr, case.keys)) if rotary else None
        out = torch.full((*query.shape[:-1], values), 7, dtype=dtype)
        stats = (1, *query.shape[:2]) if case.packed else (query.shape[0], 1, *query.shape[1:3])
        top, total = torch.full(stats, 7.0), torch.full(stats, 7.0)
        index = case.pack(chosen, case.queries)
        args = [query, key, value, index, table, case.lengths(case.queries), case.lengths(case.keys, case.packed and not pages),
                q_rope, k_rope, *([sinks] if with_sinks else []), scale, block, case.layout,
                "PA_BSND" if pages else case.layout, mode, FAR, FAR, 2, True, out, top, total]  # fmt: skip
        call(f"aclnnSparseFlashAttention{'V2' if with_sinks else ''}", *args)
        stat_rows = [s.reshape(-1, heads).view(*query.shape[:-1]) for s in (top, total)]
        for i, got in enumerate(case.unpack(out, case.queries)):
            tops, totals = (case.unpack(s, case.queries)[i] for s in stat_rows)
            for t in range(case.queries[i]):
                at = positions(case, i, t, chosen[i][t, 0], block, mode)
                if len(at) == 0:
                    assert (got[t] == 0).all()
                    continue
                full = [torch.cat((a[i], b[i]), -1).double() for a, b in ((q, qr), (k, kr))]
                want, m, s = attention(
                    full[0][t], full[1], v[i].double(), at, scale, sinks.double() if with_sinks else None
                )
                assert_close(got[t], want, 1, 1e-5)
                assert_close(tops[t], m, 2, 2e-5)
                assert_close(totals[t], s, 4, 2e-5)


@pytest.mark.parametrize("rotary", [0, 8])
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_attention_grad(dtype: torch.dtype, case: Case, rotary: int) -> None:
    heads, size, values, scale, count, block, mode = 4, 32, 24, 0.3, 3, 2, 3
    x = {n: rows(length, shape, dtype, s) for s, (n, length, shape) in enumerate((
        ("q", case.queries, (heads, size)), ("k", case.keys, (1, size)), ("v", case.keys, (1, values)),
        ("qr", case.queries, (heads, rotary)), ("kr", case.keys, (1, rotary)), ("g", case.queries, (heads, values))))}  # fmt: skip
    chosen = choose(case, count, block)
    wide = {n: [t.double().requires_grad_() for t in ts] for n, ts in x.items() if n != "g"}
    outs, tops, totals, loss = [], [], [], torch.zeros((), dtype=torch.float64)
    for i, n in enumerate(case.queries):
        o, m, s = (
            torch.zeros(n, heads, values, dtype=torch.float64),
            torch.zeros(n, heads),
            torch.ones(n, heads),
        )
        for t in range(n):
            at = positions(case, i, t, chosen[i][t, 0], block, mode)
            if len(at):
                q, k = (torch.cat((wide[a][i], wide[b][i]), -1) for a, b in (("q", "qr"), ("k", "kr")))
                out, m[t], s[t] = attention(q[t], k, wide["v"][i], at, scale, None)
                loss = loss + (out * x["g"][i][t].double()).sum()
                o[t] = out.detach()
        outs.append(o.to(dtype)), tops.append(m.detach()), totals.append(s.detach())
    pack_q, pack_k = (
        functools.partial(case.pack, lengths=case.queries),
        functools.partial(case.pack, lengths=case.keys),
    )
    query, key, value = pack_q(x["q"]), pack_k(x["k"]), pack_k(x["v"])
    ropes = [pack_q(x["qr"]), pack_k(x["kr"])] if rotary else [None, None]
    stats = [pack_q(s) for s in (tops, totals)]
    stats = [s[None] if case.packed else s[:, None] for s in stats]
    grads = [torch.full_like(t, 7) for t in (query, key, value)]
    rope_grads = [None if r is None else torch.full_like(r, 7) for r in ropes]
    call("aclnnSparseFlashAttentionGrad", query, key, value, pack_q(chosen), pack_q(x["g"]), pack_q(outs), *stats,
         case.lengths(case.queries), case.lengths(case.keys), *ropes, scale, block, case.layout, mode, FAR, FAR, True,
         *grads, *rope_grads)  # fmt: skip
    leaves = [t for n in wide for t in wide[n]]
    want = iter(torch.autograd.grad(loss, leaves, allow_unused=True))
    got = dict(zip(("q", "k", "v", "qr", "kr"), (*grads, *rope_grads), strict=True))
    for n, ts in wide.items():
        lengths = case.queries if n.startswith("q") else case.keys
        parts = case.unpack(got[n], lengths) if got[n] is not None else [None] * len(ts)
        for part, t in zip(parts, ts, strict=True):
            expected = next(want)
            if part is not None:
                assert_close(part, torch.zeros_like(t) if expected is None else expected, 2, ATOL[dtype])


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_indexer_grad(dtype: torch.dtype, case: Case) -> None:
    heads, size, count = 4, 16, 5
    x = [
        rows(case.queries, (heads, size), dtype, 1),
        rows(case.keys, (1, size), dtype, 2),
        rows(case.queries, (heads,), dtype, 3),
    ]
    dy, chosen = rows(case.queries, (1, count), dtype, 4), choose(case, count)
    wide = [[t.double().requires_grad_() for t in ts] for ts in x]
    loss = torch.zeros((), dtype=torch.float64)
    for i, n in enumerate(case.queries):
        score = scores(*(ts[i] for ts in wide))
        for t in range(n):
            for j, c in enumerate(chosen[i][t, 0].tolist()):
                if 0 <= c < visible(case, i, t, 3):
                    loss = loss + score[t, c] * dy[i][t, 0, j].double()
    lengths = (case.queries, case.keys, case.queries)
    packed = [case.pack(ts, n) for ts, n in zip(x, lengths, strict=True)]
    grads = [torch.full_like(t, 7) for t in packed]
    call("aclnnLightningIndexerGrad", packed[0], packed[1], case.pack(dy, case.queries), case.pack(chosen, case.queries),
         packed[2], case.lengths(case.queries), case.lengths(case.keys), 0, case.layout, 3, FAR, FAR, False, *grads)  # fmt: skip
    want = iter(torch.autograd.grad(loss, [t for ts in wide for t in ts], allow_unused=True))
    for grad, ts, n in zip(grads, wide, lengths, strict=True):
        for part, t in zip(case.unpack(grad, n), ts, strict=True):
            expected = next(want)
            assert_close(part, torch.zeros_like(t) if expected is None else expected, 1, 1e-5)


@pytest.mark.parametrize("kind", ["sparse", "dense", "sinks"])
@pytest.mark.parametrize("key_heads", [1, 2, 4])
@pytest.mark.parametrize("case", [c for c in CASES if c.packed or len(set(c.queries)) == 1], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_losses(dtype: torch.dtype, case: Case, key_heads: int, kind: str) -> None:
    dense, sinks = kind == "dense", torch.tensor([-1.0, 0.5, 3.0, -float("inf")]) if kind == "sinks" else None
    heads, size, rotary, index_heads, count, scale = 4, 16, 8, 3, 4, 0.3
    q, qr = rows(case.queries, (heads, size), dtype, 1), rows(case.queries, (heads, rotary), dtype, 2)
    k, kr = rows(case.keys, (key_heads, size), dtype, 3), rows(case.keys, (key_heads, rotary), dtype, 4)
    x = [
        rows(case.queries, (index_heads, size), dtype, 5),
        rows(case.keys, (1, size), dtype, 6),
        rows(case.queries, (index_heads,), dtype, 7),
    ]
    wide = [[t.double().requires_grad_() for t in ts] for ts in x]
    chosen = choose(case, count)
    tops = [torch.zeros(n, heads) for n in case.queries]
    totals = [torch.ones(n, heads) for n in case.queries]
    index_stats = [torch.zeros(n, 2) for n in case.queries]
    loss = torch.zeros((), dtype=torch.float64)
    for i, n in enumerate(case.queries):
        score = scores(*(ts[i] for ts in wide))
        keys = torch.cat((k[i], kr[i]), -1).double().repeat_interleave(heads // key_heads, 1)
        logits = torch.einsum("thd,jhd->thj", torch.cat((q[i], qr[i]), -1).double(), keys) * scale
        for t in range(n):
            at = (
                torch.arange(visible(case, i, t, 3))
                if dense
                else positions(case, i, t, chosen[i][t, 0], 1, 3)
            )
            if len(at) == 0:
                continue
            s = logits[t][:, at]
            seen = s if sinks is None else torch.cat((s, sinks.double()[:, None]), 1)
            tops[i][t], totals[i][t] = seen.max(1)[0], (seen - seen.max(1)[0][:, None]).exp().sum(1)
            p = seen.softmax(1)[:, : len(at)].sum(0)
            p = p / p.sum()
            index_stats[i][t, 0] = score[t][at].max().detach()
            index_stats[i][t, 1] = (score[t][at] - score[t][at].max()).exp().sum().detach()
            loss = loss + (p * (p.log() - score[t][at].log_softmax(0))).sum()
    pack_q, pack_k = (
        functools.partial(case.pack, lengths=case.queries),
        functools.partial(case.pack, lengths=case.keys),
    )

    def by_head(s: list[torch.Tensor]) -> torch.Tensor:
        grouped = pack_q([t.reshape(len(t), key_heads, heads // key_heads) for t in s])
        return grouped.transpose(0, 1).contiguous() if case.packed else grouped.transpose(1, 2).contiguous()

    stats = [by_head(tops), by_head(totals)]
    index_rows = [pack_q([s[:, j] for s in index_stats]) for j in range(2)]
    index_rows = [s[None].contiguous() if case.packed else s[:, None].contiguous() for s in index_rows]
    packed = [pack_q(x[0]), pack_k(x[1]), pack_q(x[2])]
    grads, got = [torch.full_like(t, 7) for t in packed], torch.full((1,), 7.0)
    ends = [IntArray(case.lengths(n).tolist()) if case.packed else None for n in (case.queries, case.keys)]
    common = [pack_q(qr), pack_k(kr), *ends, scale, case.layout, 3, FAR, FAR]
    if dense:
        call(
            "aclnnDenseLightningIndexerGradKLLoss",
            pack_q(q),
            pack_k(k),
            *packed,
            *stats,
            *index_rows,
            *common,
            *grads,
            got,
        )
        made = [torch.full_like(t, 7) for t in index_rows]
        call("aclnnDenseLightningIndexerSoftmaxLse", *packed, *ends, case.layout, 3, FAR, FAR, *made)
        assert_close(made[0], index_rows[0].double(), 2, 2e-5)
        assert_close(made[1], index_rows[1].double(), 4, 2e-5)
    else:
        version = ("", []) if sinks is None else ("V2", [sinks])
        call(
            f"aclnnSparseLightningIndexerGradKLLoss{version[0]}",
            pack_q(q),
            pack_k(k),
            *packed,
            pack_q(chosen),
            *stats,
            *common[:4],
            *version[1],
            *common[4:],
            False,
            *grads,
            got,
        )
    assert_close(got, loss.detach().reshape(1), 4, 1e-5)
    want = iter(torch.autograd.grad(loss, [t for ts in wide for t in ts], allow_unused=True))
    for grad, ts, n in zip(grads, wide, (case.queries, case.keys, case.queries), strict=True):
        for part, t in zip(case.unpack(grad, n), ts, strict=True):
            expected = next(want)
            assert_close(part, torch.zeros_like(t) if expected is None else expected, 1, 2e-5)


def test_sinks_that_take_all() -> None:
    """Nothing is left to learn from, and no number is NaN; sinks of another number of heads are refused."""
    q, k, w = torch.ones(1, 1, 2, 8), torch.ones(1, 3, 1, 8), torch.ones(1, 1, 2)
    stats, index = torch.ones(1, 1, 1, 2), torch.zeros(1, 1, 1, 2, dtype=torch.int32)
    grads, loss = [torch.full_like(t, 7) for t in (q, k, w)], torch.full((1,), 7.0)

    def run(sinks: torch.Tensor) -> None:
        call("aclnnSparseLightningIndexerGradKLLossV2", q, k, q, k, w, index, stats * 1e4, stats, None, None, None, None,
             sinks, 1.0, "BSND", 3, FAR, FAR, False, *grads, loss)  # fmt: skip

    run(torch.full((2,), 1e4))
    assert all(torch.isfinite(t).all() for t in (*grads, loss))
    for bad in (torch.ones(3), torch.ones(2, 1), torch.ones(2, dtype=torch.int32)):
        with pytest.raises(OperatorError, match="aclnnSparseLightningIndexerGradKLLossV2: sinks is"):
            run(bad)


def test_refuses() -> None:
    q, k, w = torch.ones(1, 2, 4, 8), torch.ones(1, 3, 1, 8), torch.ones(1, 2, 4)
    index = torch.zeros(1, 2, 1, 2, dtype=torch.int32)
    good = [q, k, w, None, None, None, "BSND", "BSND", 2, 3, FAR, FAR, False, index, None]
    call("aclnnLightningIndexer", *good)
    for at, bad, text in (
        (1, torch.ones(1, 3, 2, 8), "key is"),
        (2, torch.ones(1, 2, 3), "weights is"),
        (3, torch.tensor([3]), "the actual length of the queries has 3"),
        (6, "BNSD", 'layoutQueryOptional is "BNSD"'),
        (7, "TND", 'layoutKeyOptional is "TND"'),
        (7, "PA_BSND", "actualSeqLengthsKeyOptional is null"),
        (8, 0, "sparseCount is 0"),
        (9, 1, "sparseMode is 1"),
    ):
        with pytest.raises(OperatorError, match="aclnnLightningIndexer") as e:
            call("aclnnLightningIndexer", *good[:at], bad, *good[at + 1 :])
        assert text in e.value.text
    good = [
        q,
        k,
        k,
        index,
        None,
        None,
        None,
        None,
        None,
        1.0,
        1,
        "BSND",
        "BSND",
        3,
        FAR,
        FAR,
        2,
        False,
        torch.empty_like(q),
        None,
        None,
    ]
    call("aclnnSparseFlashAttention", *good)
    for at, bad, text in (
        (2, torch.ones(1, 4, 1, 8), "value is"),
        (3, index + 3, "sparseIndices has 3 for token 0, wanted -1 to 2"),
        (7, torch.ones(1, 2, 4, 2), "keyRopeOptional is null"),
        (10, 0, "sparseBlockSize is 0"),
        (16, 1, "attentionMode is 1"),
        (17, True, "softmaxMax is null"),
    ):
        with pytest.raises(OperatorError, match="aclnnSparseFlashAttention") as e:
            call("aclnnSparseFlashAttention", *good[:at], bad, *good[at + 1 :])
        assert text in e.value.text
