# SPDX-License-Identifier: Apache-2.0
"""Cross entropy of a linear layer with a divided vocabulary: the three operators of a rank, put together for several
ranks as collectives would, against F.cross_entropy in float64."""

from __future__ import annotations

import pytest
import torch
from aclnn import OperatorError, call
from compare import assert_close, layouts, make

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
TARGETS = (torch.int32, torch.int64)
# Rows, hidden, vocabulary, ranks: one row, odd, more rows than a byte of the mask has bits.
SIZES = ((1, 3, 5, 1), (9, 33, 70, 2), (20, 16, 300, 3), (130, 65, 96, 4))


def bits(mask: torch.Tensor, n: int) -> torch.Tensor:
    shifts = torch.arange(7, -1, -1)
    return ((mask[:, None] >> shifts) & 1).flatten()[:n].bool()


class Rank:
    """What one rank computes and keeps."""

    def __init__(
        self, x: torch.Tensor, w: torch.Tensor, target: torch.Tensor, first: int, logits: bool
    ) -> None:
        n, v = len(x), len(w)
        self.x, self.w, self.first = x, w, first
        self.max, self.sum, self.predicted = (
            torch.full((n,), 7.0),
            torch.full((n,), 7.0),
            torch.full((n,), 7.0),
        )
        self.mask = torch.full(((n + 7) // 8,), 7, dtype=torch.uint8)
        self.target = torch.full((n,), 7, dtype=target.dtype)
        self.logits = torch.full((n, v), 7.0, dtype=x.dtype) if logits else None
        call("aclnnFusedLinearOnlineMaxSum", x, w, target, first, first + v - 1, self.max, self.sum, self.predicted,
             self.mask, self.target, self.logits)  # fmt: skip

    def absent(self) -> torch.Tensor:
        return bits(self.mask, len(self.x))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("index", TARGETS, ids=str)
@pytest.mark.parametrize("keep", [True, False], ids=["logits", "again"])
def test_ranks_together(dtype: torch.dtype, index: torch.dtype, keep: bool) -> None:
    for n, h, v, ranks in SIZES:
        x, w = make((n, h), dtype, 0, -1, 1), make((v, h), dtype, 1, -1, 1)
        target = torch.randint(0, v, (n,), generator=torch.Generator().manual_seed(2)).to(index)
        grad = make((n,), torch.float32, 3)
        x64, w64 = x.double().requires_grad_(), w.double().requires_grad_()
        logits = x64 @ w64.t()
        want = torch.nn.functional.cross_entropy(logits, target.long(), reduction="none")
        want.backward(grad.double())
        shares = w.tensor_split(ranks)
        firsts = [sum(len(s) for s in shares[:i]) for i in range(ranks)]
        parts = [Rank(x, s, target, f, keep) for s, f in zip(shares, firsts, strict=True)]
        for r, s in zip(parts, shares, strict=True):
            here = logits.detach()[:, r.first : r.first + len(s)]
            absent = (target < r.first) | (target >= r.first + len(s))
            assert torch.equal(r.absent(), absent) and torch.equal(
                r.target, torch.where(absent, 0, target - r.first).to(index)
            )
            assert bool((r.mask[-1:] & ((1 << (-n % 8)) - 1) == (1 << (-n % 8)) - 1).all())
            assert_close(r.max, here.max(1)[0], 2, 1e-5)
            assert_close(r.sum, (here - here.max(1)[0][:, None]).exp().sum(1), 4, 1e-5)
            at = here.gather(1, r.target.long()[:, None])[:, 0] - here.max(1)[0]
            assert_close(r.predicted, torch.where(absent, 0, at), 2, 2e-5)
            if r.logits is not None:
                assert_close(r.logits, here, 1, 1e-5)
        # The collectives: maximum, and sums of what is relative to the common maximum.
        most = torch.stack([r.max for r in parts]).max(0)[0]
        total = torch.stack([r.sum * (r.max - most).exp() for r in parts]).sum(0)
        predicted = torch.stack([torch.where(r.absent(), 0, r.predicted + r.max - most) for r in parts]).sum(
            0
        )
        for r, s in zip(parts, shares, strict=True):
            softmax = torch.full((n, len(s)), 7.0) if keep else None
            loss = torch.full((n,), 7.0)
            call(
                "aclnnFusedCrossEntropyLossWithMaxSum",
                most,
                total,
                predicted,
                0.0,
                None,
                None,
                r.logits,
                loss,
                softmax,
            )
            assert_close(loss, want.detach(), 4, 2e-5)
            here = slice(r.first, r.first + len(s))
            if softmax is not None:
                # Of the logits as they were kept: rounded to dtype.
                kept = (r.logits.double() - most[:, None].double()).exp() / total[:, None].double()
                assert_close(softmax, kept, 8, 1e-6)
            dx, dw = torch.full_like(x, 7), torch.full_like(s, 7)
            call("aclnnFusedLinearCrossEntropyLossGrad", grad, x, s, r.mask, r.target, 0.0, None if keep else most,
                 None if keep else total, softmax, dx, dw)  # fmt: skip
            exact = not keep or dtype == torch.float32
            assert_close(dw, w64.grad[here], 1, 2e-5 if exact else 0.2)
            r.dx = dx.double()
        tolerance = 1e-4 if dtype == torch.float32 else 0.1 * ranks
        assert_close(sum(r.dx for r in parts).to(torch.float32), x64.grad, 1, tolerance)


def test_strided_operands_and_results() -> None:
    n, h, v = 11, 10, 37
    x, w, target = make((n, h), torch.float32), make((v, h), torch.float32, 1), torch.arange(n) * 3
    plain = Rank(x, w, target, 0, True)
    for layout in range(3):
        a, b = (list(layouts(t))[layout][1] for t in (x, w))
        other = Rank(a, b, list(layouts(target))[min(layout, 1)][1], 0, True)
        for name in ("max", "sum", "predicted", "mask", "target", "logits"):
            assert torch.equal(getattr(plain, name), getattr(other, name)), name
        assert plain.logits is not None
        softmax, grad = plain.logits.softmax(1), make((n,), torch.float32, 2)
        results = []
        for operands in ((x, w, softmax), (a, b, list(layouts(softmax))[layout][1])):
            dx, dw = (list(layouts(torch.empty_like(t)))[layout][1] for t in (x, w))
            call("aclnnFusedLinearCrossEntropyLossGrad", grad, *operands[:2], plain.mask, plain.target, 0.0, None, None, operands[2], dx, dw)  # fmt: skip
            results.append((dx, dw))
        assert torch.equal(results[0][0], results[1][0]) and torch.equal(results[0][1], results[1][1])


def test_empty() -> None:
    r = Rank(torch.empty(0, 4), torch.ones(3, 4), torch.empty(0, dtype=torch.int64), 0, True)
    dw = torch.full((3, 4), 7.0)
    call(
        "aclnnFusedCrossEntropyLossWithMaxSum",
        r.max,
        r.sum,
        r.predicted,
        0.0,
        None,
        None,
        r.logits,
        torch.empty(0),
        torch.empty(0, 3),
    )
    call(
        "aclnnFusedLinearCrossEntropyLossGrad",
        r.max,
        r.x,
        r.w,
        r.mask,
        r.target,
        0.0,
        r.max,
        r.sum,
        None,
        torch.empty(0, 4),
        dw,
    )
    assert bool((dw == 0).all())


def test_values_that_are_not_finite_stay_in_their_row() -> None:
    x = make((4, 6), torch.float32)
    x[2, 1] = float("nan")
    r = Rank(x, make((9, 6), torch.float32, 1), torch.arange(4), 0, False)
    assert r.max.isnan().tolist() == [False, False, True, False] == r.sum.isnan().tolist()


@pytest.mark.slow
def test_more_rows_than_one_part_of_the_logits() -> None:
    """64 MiB of logits exist at a time: gradients of weight are sums over the parts."""
    n, h, v = 1500, 8, 20_000
    x, w = make((n, h), torch.bfloat16), make((v, h), torch.bfloat16, 1, -1, 1)
    target, grad = torch.arange(n) * 13, make((n,), torch.float32, 2)
    r = Rank(x, w, target, 0, True)
    x64, w64 = x.double().requires_grad_(), w.double().requires_grad_()
    want = torch.nn.functional.cross_entropy(x64 @ w64.t(), target, reduction="none")
    want.backward(grad.double())
    loss = torch.empty(n)
    softmax = torch.empty(n, v)
    call(
        "aclnnFusedCrossEntropyLossWithMaxSum",
        r.max,
        r.sum,
        r.predicted,
        0.0,
        None,
        None,
        r.logits,
        loss,
        softmax,
    )
    assert_close(loss, want.detach(), 4, 1e-4)
    dx, dw = torch.empty_like(x), torch.empty_like(w)
    call(
        "aclnnFusedLinearCrossEntropyLossGrad", grad, x, w, r.mask, r.target, 0.0, r.max, r.sum, None, dx, dw
    )
    assert_close(dx, x64.grad, 1, 1e-4)
    assert_close(dw, w64.grad, 1, 1e-4)


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63), -1, 5, 8])
def test_hostile_targets(value: int) -> None:
    x, w, n = torch.ones(4, 3), torch.ones(5, 3), 4
    target = torch.tensor([0, 1, value, 2])
    # Within the numbers of the vocabulary but without a row of weight: 8 of 0 to 9.
    out = (
        torch.empty(n),
        torch.empty(n),
        torch.empty(n),
        torch.empty(1, dtype=torch.uint8),
        torch.empty(n, dtype=torch.int64),
    )
    if value in (5, 8):
        with pytest.raises(
            OperatorError, match=rf"index {value} at position \[2\] of target is out of range"
        ):
            call("aclnnFusedLinearOnlineMaxSum", x, w, target, 0, 9, *out, None)
    else:
        call("aclnnFusedLinearOnlineMaxSum", x, w, target, 0, 9, *out, None)
        assert bits(out[3], n).tolist() == [False, False, True, False]
    with pytest.raises(
        OperatorError, match=rf"index {value} at position \[2\] of maskedTarget is out of range"
    ):
        call("aclnnFusedLinearCrossEntropyLossGrad", torch.ones(n), x, w, torch.zeros(1, dtype=torch.uint8), target, 0.0,
             None, None, torch.ones(n, 5), torch.empty(n, 3), torch.empty(5, 3))  # fmt: skip


f, byte, i8 = torch.ones, torch.zeros(1, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64)
ONLINE = [f(4, 3), f(5, 3), i8, 0, 4, f(4), f(4), f(4), byte, i8, None]
LOSS = [f(4), f(4), f(4), 0.0, None, None, None, f(4), None]
GRAD = [f(4), f(4, 3), f(5, 3), byte, i8, 0.0, None, None, f(4, 5), f(4, 3), f(5, 3)]
BAD = [
    ("weight float32[5,2], wanted [rows, H] and [vocabulary, H]", "aclnnFusedLinearOnlineMaxSum", ONLINE, 1, f(5, 2)),
    ("wanted both bfloat16, float16 or float32", "aclnnFusedLinearOnlineMaxSum", ONLINE, 1, f(5, 3).half()),
    ("vocabEndIndex -1, wanted", "aclnnFusedLinearOnlineMaxSum", ONLINE, 4, -1),
    ("target is int64[3], wanted 4 integers", "aclnnFusedLinearOnlineMaxSum", ONLINE, 2, i8[:3]),
    ("targetMaskOut is float32[4], wanted uint8[1]", "aclnnFusedLinearOnlineMaxSum", ONLINE, 8, f(4)),
    ("vocabParallelLogitsOutOptional is float32[4,4], wanted floating point [4,5]", "aclnnFusedLinearOnlineMaxSum", ONLINE, 10, f(4, 4)),
    ("labelSmoothing is 0.1, wanted 0", "aclnnFusedCrossEntropyLossWithMaxSum", LOSS, 3, 0.1),
    ("inputOptional is float32[4,3], wanted none", "aclnnFusedCrossEntropyLossWithMaxSum", LOSS, 4, f(4, 3)),
    ("softMaxOutOptional is null", "aclnnFusedCrossEntropyLossWithMaxSum", LOSS, 6, f(4, 5)),
    ("labelSmoothing is 0.25, wanted 0", "aclnnFusedLinearCrossEntropyLossGrad", GRAD, 5, 0.25),
    ("logitsMaxOptional is null", "aclnnFusedLinearCrossEntropyLossGrad", GRAD, 8, None),
    ("weightGradOut is float32[4,3], wanted floating point [5,3]", "aclnnFusedLinearCrossEntropyLossGrad", GRAD, 10, f(4, 3)),
    ("lies over input or weight", "aclnnFusedLinearCrossEntropyLossGrad", GRAD, 9, GRAD[1]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "name", "arguments", "place", "value"), BAD, ids=[b[0] for b in BAD])
def test_bad_input(text: str, name: str, arguments: list, place: int, value: object) -> None:
    changed = [*arguments]
    changed[place] = value
    with pytest.raises(OperatorError) as error:
        call(name, *changed)
    assert text in error.value.text and name in error.value.text
