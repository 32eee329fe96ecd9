# SPDX-License-Identifier: Apache-2.0
"""Gates, and tokens expanded to their choices and summed again: aclnnMoeGatingTopK*, aclnnMoeInitRouting*,
aclnnMoeFinalizeRouting*, counts of tokens."""

from __future__ import annotations

import pytest
import torch
from aclnn import IntArray, OperatorError, Typed, call
from compare import assert_close, layouts, make
from narrow import E1M2, E2M1

I32, I64 = torch.int32, torch.int64
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def top(scores: torch.Tensor, k: int) -> torch.Tensor:
    """The k largest of each row, of equal ones the first."""
    return scores.sort(dim=-1, descending=True, stable=True)[1][..., :k]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_gate_of_softmax(dtype: torch.dtype) -> None:
    for shape, k in (((1, 1), 1), ((7, 5), 2), ((3, 5, 130), 8), ((64, 300), 300), ((4, 9), 0)):
        x = make(shape, dtype)
        done = make(shape[:-1], torch.bool, 1)
        p = x.float().softmax(-1)
        out = [torch.full((*shape[:-1], k), 7, dtype=d) for d in (dtype, I32, I32)]
        whole = torch.full(shape, 7.0)
        n = x[..., 0].numel()
        for finished in (None, done):
            for _, given in layouts(x):
                call("aclnnMoeGatingTopKSoftmax", given, finished, k, *out)
                assert_close(out[0], p.double().sort(-1, descending=True)[0][..., :k], 1, 1e-6)
                kept = out[1] if finished is None else out[1][~finished]
                scores = p if finished is None else p[~finished]
                assert_close(
                    scores.gather(-1, kept.long()), scores.sort(-1, descending=True)[0][..., :k], 0, 1e-6
                )
                assert finished is None or bool((out[1][finished] == shape[-1]).all())
                rows = torch.arange(n * k).reshape(k, n).t().reshape(out[2].shape)
                assert torch.equal(out[2], rows.int())
            call("aclnnMoeGatingTopKSoftmaxV2", x, finished, k, 0, True, out[0], out[1], whole)
            if k:
                assert_close(whole, x.double().softmax(-1), 4, 1e-6)
            call("aclnnMoeGatingTopKSoftmaxV2", x, finished, k, 1, False, out[0], out[1], torch.empty(0))
            chosen = x.double().gather(-1, top(x, k))
            assert_close(out[0], chosen.softmax(-1) if k else chosen, 2, 1e-6)
            if finished is None:
                assert torch.equal(out[1], top(x, k).int())


def test_gate_takes_the_first_of_equal_scores_and_nan_before_all() -> None:
    x = torch.tensor([[1.0, 3.0, 3.0, 2.0, 3.0], [1.0, float("nan"), 9.0, 2.0, 3.0]])
    y, index = torch.empty(2, 3), torch.empty(2, 3, dtype=I32)
    call("aclnnMoeGatingTopKSoftmaxV2", x, None, 3, 1, False, y, index, None)
    assert (
        index.tolist() == [[1, 2, 4], [1, 2, 4]] and bool(y[1].isnan().all()) and bool(y[0].isfinite().all())
    )


def limited(
    x: torch.Tensor,
    bias: torch.Tensor | None,
    k: int,
    kept: int,
    groups: int,
    pairs: int,
    norm: int,
    factor: float,
    eps: float,
):
    """Values, numbers and scores of the gate that limits groups."""
    s = x.softmax(-1) if norm == 0 else x.sigmoid()
    score = s.detach() if bias is None else s.detach() + bias
    parts = score.unflatten(-1, (groups, -1))
    best = top(parts.topk(2, -1)[0].sum(-1) if pairs else parts.amax(-1), kept)
    mask = torch.ones(parts.shape[:-1], dtype=torch.bool).scatter(-1, best, False)
    index = top(parts.masked_fill(mask[..., None], -float("inf")).flatten(-2), k)
    y = s.gather(-1, index)
    return (y / (y.sum(-1, keepdim=True) + eps) if norm else y) * factor, index, s


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("norm", [0, 1], ids=["softmax", "sigmoid"])
def test_gate_of_groups_and_its_gradient(dtype: torch.dtype, norm: int) -> None:
    for rows, experts, k, kept, groups, pairs in (
        (1, 4, 1, 1, 1, 0),
        (9, 32, 6, 2, 4, 1),
        (33, 64, 8, 4, 8, 0),
        (5, 12, 3, 3, 3, 1),
        (0, 8, 2, 1, 2, 1),
    ):
        x = make((rows, experts), dtype)
        for bias in (None, make((experts,), dtype, 1)):
            x64 = x.float().double().requires_grad_()
            want, index, s = limited(
                x64, None if bias is None else bias.double(), k, kept, groups, pairs, norm, 2.5, 1e-3
            )
            y, at, scores = (
                torch.full((rows, k), 7, dtype=dtype),
                torch.full((rows, k), 7, dtype=I32),
                torch.full((rows, experts), 7.0),
            )
            call(
                "aclnnMoeGatingTopK", x, bias, k, kept, groups, pairs, 0, norm, True, 2.5, 1e-3, y, at, scores
            )
            assert torch.equal(at, index.int())
            assert_close(y, want.detach(), 1, 1e-6)
            assert_close(scores, s.detach(), 4, 1e-7)
            g, dx = make((rows, k), dtype, 2), torch.full((rows, experts), 7, dtype=dtype)
            want.backward(g.double())
            call("aclnnMoeGatingTopKBackward", s.detach().float(), g, at, 0, norm, 2.5, 1e-3, dx)
            assert_close(dx, x64.grad, 1, 1e-6)


def test_gate_that_looks_experts_up() -> None:
    x, table = make((5, 8), torch.float32), torch.tensor([[0, 3], [7, 1], [2, 2]])
    ids = torch.tensor([2, 0, 1, 1, 0], dtype=I32)
    y, at = torch.empty(5, 2), torch.empty(5, 2, dtype=I32)
    call("aclnnMoeGatingTopKV2", x, None, ids, table, 2, 1, 1, 0, 0, 1, False, 1.0, 0.0, y, at, None)
    s = x.double().sigmoid().gather(1, table[ids.long()])
    assert torch.equal(at, table[ids.long()].int())
    assert_close(y, s / s.sum(1, keepdim=True), 2, 1e-7)
    for arguments, text in (
        ((ids - 1, table), "of inputIdsOptional"),
        ((ids, table + 1), "of tid2eidOptional"),
        ((ids, None), "tid2eidOptional is null"),
    ):
        with pytest.raises(OperatorError, match=text):
            call("aclnnMoeGatingTopKV2", x, None, *arguments, 2, 1, 1, 0, 0, 1, False, 1.0, 0.0, y, at, None)


SIZES = ((0, 3, 2, 4), (1, 1, 1, 1), (7, 5, 3, 9), (40, 33, 4, 16), (20, 1030, 2, 300))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_routing_of_the_first_version(dtype: torch.dtype) -> None:
    for n, h, k, e in SIZES:
        x, expert = (
            make((n, h), dtype),
            torch.randint(0, e, (n, k), generator=torch.Generator().manual_seed(1)).int(),
        )
        row = torch.arange(n * k).reshape(k, n).t().int()
        order = expert.reshape(-1).long().argsort(stable=True)
        source = row.reshape(-1)[order].long()
        for active in {n, n // 2}:
            for layout in range(3):
                a, i = (list(layouts(t))[layout][1] for t in (x, expert))
                out = torch.full((active * k, h), 7, dtype=dtype)
                where, sorted_ = torch.full((n * k,), 7, dtype=I32), torch.full((n * k,), 7, dtype=I32)
                call("aclnnMoeInitRouting", a, row, i, active, out, where, sorted_)
                if n:
                    assert torch.equal(out, x[source[: active * k] % n])
                assert torch.equal(sorted_, expert.reshape(-1)[order])
                assert torch.equal(
                    where, torch.empty(n * k, dtype=I32).scatter(0, source, torch.arange(n * k).int())
                )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_routing_without_a_capacity(dtype: torch.dtype) -> None:
    for n, h, k, e in SIZES:
        x, expert = (
            make((n, h), dtype),
            torch.randint(0, e, (n, k), generator=torch.Generator().manual_seed(1)).int(),
        )
        flat = expert.reshape(-1).long()
        order = flat.argsort(stable=True)
        where = order.argsort()
        for flag in (0, 1, 2):
            out, place = torch.full((n * k, h), 7, dtype=dtype), torch.full((n * k,), 7, dtype=I32)
            counts = torch.full((e,), 7, dtype=I32)
            call("aclnnMoeInitRoutingV2", x, expert, n * k, 0, e, 0, flag, False, out, place, counts, None)
            assert torch.equal(out, x[order // k]) and torch.equal(place, where.int())
            want = torch.bincount(flat, minlength=e)
            assert flag == 0 or torch.equal(counts, (want.cumsum(0) if flag == 1 else want).int())
        first, last = e // 3, e - e // 4
        counted = (flat >= first) & (flat < last)
        kept = torch.where(counted, flat, e).argsort(stable=True)[: int(counted.sum())]
        scale = make((n,), torch.float32, 2)
        for kind in (0, 1, 2):
            for by_place in (0, 1):
                out, place = torch.full((n * k, h), 7, dtype=dtype), torch.full((n * k,), 7, dtype=I32)
                told = torch.full((e, 2) if kind == 2 else (last - first,), 7, dtype=I64)
                scales = torch.full((n * k,), 7.0)
                call("aclnnMoeInitRoutingV3", x, expert, scale, None, n * k, 0, e, 0, kind, True, -1, IntArray([first, last]), by_place,
                     out, place, told, scales)  # fmt: skip
                m = len(kept)
                assert torch.equal(out[:m], x[kept // k]) and torch.equal(scales[:m], scale[kept // k])
                assert bool((out[m:] == 0).all())
                if by_place:
                    assert torch.equal(place[:m], kept.int())
                else:
                    assert torch.equal(
                        place, torch.full((n * k,), -1, dtype=I32).scatter(0, kept, torch.arange(m).int())
                    )
                want = torch.bincount(flat[counted], minlength=e)[first:last]
                if kind == 2:
                    pairs = [[first + i, c] for i, c in enumerate(want.tolist()) if c]
                    assert told[: len(pairs)].tolist() == pairs and bool((told[len(pairs) :] == 0).all())
                else:
                    assert torch.equal(told, want.cumsum(0) if kind == 0 else want)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_routing_with_a_capacity(dtype: torch.dtype) -> None:
    for n, h, k, e, capacity in ((7, 5, 3, 4, 2), (40, 33, 4, 16, 50), (1, 1, 1, 1, 1)):
        x, expert = (
            make((n, h), dtype),
            torch.randint(0, e, (n, k), generator=torch.Generator().manual_seed(1)).int(),
        )
        want, place = torch.zeros(e, capacity, h, dtype=dtype), torch.full((n * k,), -1, dtype=I32)
        used = [0] * e
        for i, c in enumerate(expert.reshape(-1).tolist()):
            if used[c] < capacity:
                want[c, used[c]] = x[i // k]
                place[i] = c * capacity + used[c]
            used[c] += 1
        for flat in (False, True):
            out = torch.full((e * capacity, h) if flat else (e, capacity, h), 7, dtype=dtype)
            got, before = torch.full((n * k,), 7, dtype=I32), torch.full((e,), 7, dtype=I32)
            call("aclnnMoeInitRoutingV2", x, expert, 0, capacity, e, 1, 0, True, out, got, None, before)
            assert (
                torch.equal(out.view_as(want), want) and torch.equal(got, place) and before.tolist() == used
            )
        out = torch.full((e * capacity, h), 7, dtype=dtype)
        call(
            "aclnnMoeInitRoutingV3",
            x,
            expert,
            None,
            None,
            0,
            capacity,
            e,
            1,
            1,
            True,
            -1,
            None,
            0,
            out,
            got,
            counts := torch.empty(e, dtype=I64),
            None,
        )
        assert torch.equal(out.view_as(want), want) and torch.equal(got, place) and counts.tolist() == used


@pytest.mark.parametrize("dtype", (*DTYPES, torch.float64), ids=str)
def test_finalize(dtype: torch.dtype) -> None:
    for n, h, k, e in SIZES:
        rows, scales = make((n * k, h), dtype), make((n, k), dtype, 1)
        skips, bias = [make((n, h), dtype, 2 + i) for i in range(2)], make((e, h), dtype, 4)
        expert = torch.randint(0, e, (n, k), generator=torch.Generator().manual_seed(1)).int()
        index = torch.randperm(n * k, generator=torch.Generator().manual_seed(2)).int()
        index[: n * k // 3] = -1
        for mode in (0, 2):
            at = index.long().view(k, n).t() if mode == 0 else index.long().view(n, k)
            chosen = torch.where(
                at[..., None] < 0, 0, rows.double()[at.clamp(min=0)] if n else torch.zeros(0, k, h)
            )
            for with_skips, with_bias, with_scales in ((0, 0, 1), (1, 1, 1), (2, 0, 0), (2, 1, 1)):
                parts = chosen + bias.double()[expert.long()] if with_bias else chosen
                want = (parts * scales.double()[..., None] if with_scales else parts).sum(1)
                want = want + sum((s.double() for s in skips[:with_skips]), torch.zeros(n, h))
                given = [*skips[:with_skips], None, None][:2]
                out = torch.full((n, h), 7, dtype=dtype)
                call("aclnnMoeFinalizeRoutingV2", rows, index, *given, bias if with_bias else None, scales if with_scales else None,
                     expert if with_bias else None, mode, out)  # fmt: skip
                assert_close(out, want, 1, 1e-13 if dtype == torch.float64 else 2e-5)
                again = torch.full((n, h), 7, dtype=dtype)
                call("aclnnMoeFinalizeRoutingV4", rows, index, *given, bias if with_bias else None, scales if with_scales else None,
                     expert if with_bias else None, None, None, None, None, mode, None, None, None, k, again)  # fmt: skip
                assert torch.equal(again, out)
                if mode == 0 and with_skips and with_bias and with_scales:
                    call("aclnnMoeFinalizeRouting", rows, *given, bias, scales, index, expert, out)
                    assert_close(out, want, 1, 1e-13 if dtype == torch.float64 else 2e-5)
    rows = make((4, 3, 5), dtype)
    out = torch.empty(6, 5, dtype=dtype)
    index = torch.tensor([0, 11, -1, 5, 7, 2], dtype=I32)
    call("aclnnMoeFinalizeRoutingV2", rows, index, None, None, None, None, None, 1, out)
    assert torch.equal(out, torch.where(index[:, None] < 0, 0, rows.view(12, 5)[index.clamp(min=0).long()]))


def test_counts() -> None:
    experts = torch.tensor([0, 0, 2, 3, 3, 3, 6], dtype=I32)
    for n in (1, 4, 7, 9):
        out = torch.full((n,), 7, dtype=I32)
        call("aclnnMoeComputeExpertTokens", experts, n, out)
        assert out.tolist() == [int((experts <= e).sum()) for e in range(n)]


@pytest.mark.parametrize("dtype", (*DTYPES, torch.int8), ids=str)
def test_rerouting(dtype: torch.dtype) -> None:
    counts = torch.tensor([[2, 0, 3], [1, 4, 0]])
    tokens, scales = make((12, 5), dtype), make((12,), torch.float32, 1)
    blocks = torch.arange(10).split(counts.flatten().tolist())
    order = torch.cat([*(blocks[r * 3 + e] for e in range(3) for r in range(2)), torch.arange(10, 12)])
    out, moved, index, total = (
        torch.empty_like(tokens),
        torch.empty(12),
        torch.empty(12, dtype=I32),
        torch.empty(3, dtype=I64),
    )
    call("aclnnMoeReRouting", tokens, counts, scales, 1, 0, out, moved, index, total)
    assert (
        torch.equal(out, tokens[order])
        and torch.equal(moved, scales[order])
        and torch.equal(index, order.int())
    )
    assert torch.equal(total, counts.sum(0))


@pytest.mark.parametrize("dtype", [E2M1, E1M2])
def test_rerouting_of_fp4(dtype: int) -> None:
    counts = torch.tensor([[2, 0, 1], [1, 2, 0]])
    bytes_ = torch.randint(256, (7, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    out, index, total = (
        torch.zeros(7, 5, dtype=torch.uint8),
        torch.empty(7, dtype=I32),
        torch.empty(3, dtype=I64),
    )
    call("aclnnMoeReRouting", Typed(bytes_, dtype), counts, None, 1, 0, Typed(out, dtype), None, index, total)
    assert torch.equal(out, bytes_[[0, 1, 3, 4, 5, 2, 6]])
    turned = Typed(torch.zeros(5, 7, dtype=torch.uint8).t(), dtype)
    with pytest.raises(OperatorError, match=r"tokens is .*, wanted pairs of fp4 along its rows"):
        call("aclnnMoeReRouting", turned, counts, None, 1, 0, turned, None, torch.zeros(14, dtype=I32), total)


@pytest.mark.parametrize("value", [2**31 - 1, -(2**31), -2, 1000])
def test_hostile_numbers(value: int) -> None:
    f = torch.ones
    for at in (0, 3):
        i = torch.zeros(2, 2, dtype=I32)
        i.view(-1)[at] = value
        flat, zero, place = i.view(-1), torch.zeros(2, 2, dtype=I32), torch.zeros(4, dtype=I32)
        calls = (
            ("aclnnMoeInitRouting", (f(2, 3), i, zero, 2, f(4, 3), place, place.clone())),
            ("aclnnMoeInitRoutingV2", (f(2, 3), i, 4, 0, 5, 0, 0, False, f(4, 3), place, None, None)),
            (
                "aclnnMoeInitRoutingV3",
                (f(2, 3), i, None, None, 4, 0, 5, 0, 0, False, -1, None, 0, f(4, 3), place, None, None),
            ),
            ("aclnnMoeFinalizeRoutingV2", (f(4, 3), flat, None, None, None, None, None, 0, f(2, 3))),
            ("aclnnMoeGatingTopKBackward", (f(2, 3), f(2, 2), i, 0, 1, 1.0, 0.0, f(2, 3))),
            ("aclnnMoeReRouting", (f(4, 3), i, None, 1, 0, f(4, 3), None, place, torch.zeros(2, dtype=I32))),
        )
        for name, arguments in calls:
            with pytest.raises(
                OperatorError, match=rf"{name}: index {value} at position \[{at}\] of \w+ is out of range"
            ):
                call(name, *arguments)


f, i4, i22 = torch.ones, torch.zeros(4, dtype=I32), torch.zeros(2, 2, dtype=I32)
BIG = 2**63 - 1
BAD = [
    ("k is 6, wanted 0 to 5", "aclnnMoeGatingTopKSoftmax", (f(4, 5), None, 6, f(4, 6), i4, i4)),
    ("x is float64[4,5]", "aclnnMoeGatingTopKSoftmax", (f(4, 5).double(), None, 1, f(4, 1), i4[:, None], i4[:, None])),
    ("finishedOptional is bool[3]", "aclnnMoeGatingTopKSoftmax", (f(4, 5), f(3).bool(), 1, f(4, 1), i4[:, None], i4[:, None])),
    ("rowIdxOut is null", "aclnnMoeGatingTopKSoftmax", (f(4, 5), None, 1, f(4, 1), i4[:, None], None)),
    ("renorm is 2", "aclnnMoeGatingTopKSoftmaxV2", (f(4, 5), None, 1, 2, False, f(4, 1), i4[:, None], None)),
    ("groupCount is 3, wanted a divisor of 4", "aclnnMoeGatingTopK", (f(2, 4), None, 1, 1, 3, 0, 0, 0, False, 1.0, 0.0, f(2, 1), i22[:, :1], None)),
    ("kGroup is 1 of 2 groups of 2 experts for k 3", "aclnnMoeGatingTopK", (f(2, 4), None, 3, 1, 2, 0, 0, 0, False, 1.0, 0.0, f(2, 3), i22, None)),
    ("normType is 2", "aclnnMoeGatingTopK", (f(2, 4), None, 1, 1, 1, 0, 0, 2, False, 1.0, 0.0, f(2, 1), i22[:, :1], None)),
    ("renorm is 1", "aclnnMoeGatingTopK", (f(2, 4), None, 1, 1, 1, 0, 1, 0, False, 1.0, 0.0, f(2, 1), i22[:, :1], None)),
    ("quantMode is 13", "aclnnMoeInitRoutingV3", (f(2, 3), i22, None, None, 4, 0, 5, 0, 0, False, 13, None, 0, f(4, 3), i4, None, None)),
    ("expertNum is 9223372036854775807", "aclnnMoeInitRoutingV2", (f(2, 3), i22, 4, 0, BIG, 0, 0, False, f(4, 3), i4, None, None)),
    ("expertCapacity is 9223372036854775807", "aclnnMoeInitRoutingV2", (f(2, 3), i22, 4, BIG, 5, 1, 0, False, f(4, 3), i4, None, None)),
    ("expandedX is int8[4,3], wanted rows of x float32[2,3]", "aclnnMoeInitRoutingV2", (f(2, 3), i22, 4, 0, 5, 0, 0, False, f(4, 3).char(), i4, None, None)),
    ("activeExpertRangeOptional has 2 values", "aclnnMoeInitRoutingV3",
     (f(2, 3), i22, None, None, 4, 0, 5, 0, 0, False, -1, IntArray([0, 6]), 0, f(4, 3), i4, None, None)),
    ("expandedX is float32[5,3] for 4 choices", "aclnnMoeInitRoutingV2", (f(2, 3), i22, 4, 0, 5, 0, 0, False, f(5, 3), i4, None, None)),
    ("dropPadMode is 4", "aclnnMoeFinalizeRoutingV2", (f(4, 3), i4, None, None, None, None, None, 4, f(2, 3))),
    ("scales is float32[2,3], wanted [2,2]", "aclnnMoeFinalizeRoutingV2", (f(4, 3), i4, None, None, None, f(2, 3), None, 0, f(2, 3))),
    ("k is 3, wanted what", "aclnnMoeFinalizeRoutingV4", (f(4, 3), i4, None, None, None, None, None, None, None, None, None, 0, None, None, None, 3, f(2, 3))),
    ("xOptional is given: zero, copy", "aclnnMoeFinalizeRoutingV4", (f(4, 3), i4, None, None, None, None, None, f(2, 3), None, None, None, 0, None, None, None, 2, f(2, 3))),
    ("expertIdx is null", "aclnnMoeFinalizeRoutingV2", (f(4, 3), i4, None, None, f(5, 3), None, None, 0, f(2, 3))),
    ("numExperts is 0", "aclnnMoeComputeExpertTokens", (i4, 0, i4[:0])),
    ("idx_type is 1", "aclnnMoeReRouting", (f(4, 3), i22, None, 1, 1, f(4, 3), None, i4, i4[:2])),
]  # fmt: skip


@pytest.mark.parametrize(("text", "name", "arguments"), BAD, ids=[b[0] for b in BAD])
def test_bad_input(text: str, name: str, arguments: tuple) -> None:
    with pytest.raises(OperatorError) as error:
        call(name, *arguments)
    assert text in error.value.text and name in error.value.text
