# SPDX-License-Identifier: Apache-2.0
"""Tokens to their experts and back: aclnnMoeTokenPermute, aclnnMoeTokenUnpermute, the forms with a routing map, and
their gradients, against PyTorch in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from aclnn import IntArray, OperatorError, call
from compare import FLOATS, INTS, assert_close, layouts, make

I32, I64 = torch.int32, torch.int64
# Tokens, choices of each, experts, hidden: empty, one, odd, wider than a block, enough for several threads.
SIZES = ((0, 2, 4, 3), (1, 1, 1, 1), (7, 3, 5, 9), (13, 1, 300, 33), (20, 2, 4, 1030), (130, 4, 16, 70))


def choose(tokens: int, k: int, experts: int, seed: int = 0) -> torch.Tensor:
    """K different experts of each token, in no order."""
    g = torch.Generator().manual_seed(seed)
    return torch.rand(tokens, experts, generator=g).argsort(1)[:, :k]


def permute_reference(
    tokens: torch.Tensor, indices: torch.Tensor, rows: int
) -> tuple[torch.Tensor, torch.Tensor]:
    k = indices.shape[1] if indices.dim() == 2 else 1
    order = indices.reshape(-1).argsort(stable=True)
    return tokens[order[:rows] // k], order.argsort()


@pytest.mark.parametrize("dtype", (*FLOATS, *INTS), ids=str)
@pytest.mark.parametrize("index", [I32, I64], ids=str)
def test_permute(dtype: torch.dtype, index: torch.dtype) -> None:
    for t, k, e, h in SIZES:
        k = min(k, e)
        indices, tokens = choose(t, k, e).to(index), make((t, h), dtype)
        for rows in {t * k, t * k // 2, max(t * k - 3, 0)}:
            want, want_sorted = permute_reference(tokens, indices, rows)
            for _, x in layouts(tokens):
                out, sorted_ = torch.full((rows, h), 7, dtype=dtype), torch.full((t * k,), 7, dtype=I32)
                call("aclnnMoeTokenPermute", x, indices, rows, False, out, sorted_)
                assert torch.equal(out, want) and torch.equal(sorted_, want_sorted.int())


def test_permute_of_many_experts_and_one_choice() -> None:
    """Ids up to the interface's limit, and indices of one dimension."""
    indices = torch.tensor([2**24 - 1, 0, 70_000, 4095, 4096, 2**24 - 1, 65_536, 0])
    tokens = make((8, 3), torch.float32)
    out, sorted_ = torch.empty(8, 3), torch.empty(8, dtype=I32)
    call("aclnnMoeTokenPermute", tokens, indices, 0, False, out, sorted_)
    want, want_sorted = permute_reference(tokens, indices, 8)
    assert torch.equal(out, want) and torch.equal(sorted_, want_sorted.int())


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_permute_gradient(dtype: torch.dtype) -> None:
    for t, k, e, h in SIZES:
        k = min(k, e)
        indices = choose(t, k, e)
        for rows in {t * k, t * k // 2}:
            grad = make((rows, h), dtype)
            tokens = torch.zeros(t, h, dtype=torch.float64, requires_grad=True)
            permute_reference(tokens, indices, rows)[0].backward(grad.double())
            sorted_ = permute_reference(tokens, indices, rows)[1].int()
            for _, g in layouts(grad):
                out = torch.full((t, h), 7.0, dtype=dtype)
                call("aclnnMoeTokenPermuteGrad", g, sorted_, k, False, out)
                assert_close(out, tokens.grad, 2, atol=1e-5 if dtype != torch.float64 else 1e-13)


def unpermute_reference(
    permuted: torch.Tensor, sorted_: torch.Tensor, probs: torch.Tensor | None
) -> torch.Tensor:
    """Rows that were dropped count as zeros."""
    rows = torch.cat([permuted, permuted.new_zeros(sorted_.numel() - len(permuted), permuted.shape[1])])
    k = 1 if probs is None else probs.shape[1]
    chosen = rows[sorted_.long()].reshape(-1, k, permuted.shape[1])
    return (chosen if probs is None else chosen * probs[..., None]).sum(1)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("weights", [None, torch.float32, torch.bfloat16], ids=str)
def test_unpermute_and_gradients(dtype: torch.dtype, weights: torch.dtype | None) -> None:
    atol = 1e-13 if dtype == torch.float64 else 2e-5
    for t, k, e, h in SIZES:
        k = 1 if weights is None else min(k, e)
        sorted_ = choose(t, k, e, 1).reshape(-1).argsort(stable=True).argsort().int()
        for rows in {t * k, t * k - t * k // 3}:
            permuted, grad = make((rows, h), dtype), make((t, h), dtype, 2)
            probs = None if weights is None else make((t, k), weights, 3, 0, 1)
            p64 = permuted.double().requires_grad_()
            w64 = None if probs is None else probs.double().requires_grad_()
            want = unpermute_reference(p64, sorted_, w64)
            want.backward(grad.double())
            for layout in range(3):
                x, g = (list(layouts(v))[layout][1] for v in (permuted, grad))
                out = torch.full((t, h), 7.0, dtype=dtype)
                call("aclnnMoeTokenUnpermute", x, sorted_, probs, False, IntArray([1]), out)
                assert_close(out, want.detach(), 1, atol)
                rows_grad = torch.full((rows, h), 7.0, dtype=dtype)
                probs_grad = torch.full((t, k), 7.0, dtype=weights or torch.float32)
                call("aclnnMoeTokenUnpermuteGrad", None if probs is None else x, g, sorted_, probs, False, IntArray([1]), rows_grad, probs_grad)  # fmt: skip
                assert_close(rows_grad, p64.grad, 1, atol)
                if w64 is not None:
                    assert_close(probs_grad, w64.grad, 1, 1e-4)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_padded_mode(dtype: torch.dtype) -> None:
    """Indices [E, C] name the token of each row; several rows, or none, may belong to a token."""
    for t, e, c, h in ((5, 2, 3, 7), (30, 4, 9, 65), (3, 1, 0, 2)):
        indices = torch.randint(0, t, (e, c), generator=torch.Generator().manual_seed(3))
        flat = indices.reshape(-1)
        tokens, probs, grad = make((t, h), dtype), make((e, c), dtype, 1, 0, 1), make((t, h), dtype, 2)
        permuted, sorted_ = torch.empty(e * c, h, dtype=dtype), torch.empty(e * c, dtype=I32)
        call("aclnnMoeTokenPermute", tokens, indices, e * c, True, permuted, sorted_)
        assert torch.equal(permuted, tokens[flat]) and torch.equal(sorted_, flat.int())
        summed = torch.empty(t, h, dtype=dtype)
        call("aclnnMoeTokenPermuteGrad", permuted, sorted_, max(c, 1), True, summed)
        want = torch.zeros(t, h, dtype=torch.float64).index_add(0, flat, permuted.double())
        assert_close(summed, want, 1, 1e-5)
        out, shape = torch.empty(t, h, dtype=dtype), IntArray([t, h])
        call("aclnnMoeTokenUnpermute", permuted, sorted_, probs, True, shape, out)
        weighted = permuted.double() * probs.double().reshape(-1, 1)
        assert_close(out, torch.zeros(t, h, dtype=torch.float64).index_add(0, flat, weighted), 1, 1e-5)
        rows_grad, probs_grad = torch.empty_like(permuted), torch.empty_like(probs)
        call("aclnnMoeTokenUnpermuteGrad", permuted, grad, sorted_, probs, True, shape, rows_grad, probs_grad)
        assert_close(rows_grad, grad.double()[flat] * probs.double().reshape(-1, 1), 1)
        dots = (grad.double()[flat] * permuted.double()).sum(1).reshape(e, c)
        assert_close(probs_grad, dots, 1, 1e-4)


def routing(tokens: int, k: int, experts: int) -> torch.Tensor:
    return torch.zeros(tokens, experts, dtype=torch.bool).scatter(1, choose(tokens, k, experts), True)


def mapped(map_: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Token and expert of each row, rows by expert."""
    expert, token = map_.t().nonzero(as_tuple=True)
    return token, expert


MAP_SIZES = ((0, 2, 4, 3), (1, 1, 1, 1), (7, 3, 5, 9), (20, 2, 4, 1030), (70, 8, 16, 33))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("map_dtype", [torch.bool, torch.int8], ids=str)
def test_routing_map(dtype: torch.dtype, map_dtype: torch.dtype) -> None:
    """To the experts and back; gradients of tokens, rows and weights."""
    atol = 1e-13 if dtype == torch.float64 else 2e-5
    for t, k, e, h in MAP_SIZES:
        map_, tokens, probs = routing(t, k, e), make((t, h), dtype), make((t, e), dtype, 1, 0, 1)
        token, expert = mapped(map_)
        n, given = t * k, map_.to(map_dtype)
        want_sorted = token.argsort(stable=True).int()
        for layout in range(3):
            x, w, m = (list(layouts(v))[layout][1] for v in (tokens, probs, given))
            rows, weights = torch.full((n, h), 7.0, dtype=dtype), torch.full((n,), 7.0, dtype=dtype)
            sorted_ = torch.full((n,), 7, dtype=I32)
            call("aclnnMoeTokenPermuteWithRoutingMap", x, m, w, n, False, rows, weights, sorted_)
            assert torch.equal(rows, tokens[token]) and torch.equal(weights, probs[token, expert])
            assert torch.equal(sorted_, want_sorted)
        rows, sorted_ = torch.empty(n, h, dtype=dtype), torch.empty(n, dtype=I32)
        call("aclnnMoeTokenPermuteWithRoutingMap", tokens, given, None, n, False, rows, None, sorted_)
        assert torch.equal(rows, tokens[token]) and torch.equal(sorted_, want_sorted)

        row_grad, weight_grad = make((n, h), dtype, 2), make((n,), dtype, 3)
        tokens_grad, probs_grad = torch.full((t, h), 7.0, dtype=dtype), torch.full((t, e), 7.0, dtype=dtype)
        call("aclnnMoeTokenPermuteWithRoutingMapGrad", row_grad, weight_grad, sorted_, given, e, t, False, tokens_grad, probs_grad)  # fmt: skip
        want = torch.zeros(t, h, dtype=torch.float64).index_add(0, token, row_grad.double())
        assert_close(tokens_grad, want, 1, atol)
        assert_close(probs_grad, torch.zeros(t, e, dtype=dtype).index_put((token, expert), weight_grad))
        call(
            "aclnnMoeTokenPermuteWithRoutingMapGrad",
            row_grad,
            None,
            sorted_,
            None,
            e,
            t,
            False,
            tokens_grad,
            None,
        )
        assert_close(tokens_grad, want, 1, atol)

        out, weights = torch.full((t, h), 7.0, dtype=dtype), torch.full((n,), 7.0, dtype=dtype)
        index, ids, shape = torch.full((n,), 7, dtype=I32), torch.full((n,), 7, dtype=I32), IntArray([t, h])
        call("aclnnMoeTokenUnpermuteWithRoutingMap", rows, sorted_, given, probs, False, shape, out, index, ids, weights)  # fmt: skip
        r64, w64 = rows.double().requires_grad_(), probs.double().requires_grad_()
        want = torch.zeros(t, h, dtype=torch.float64).index_add(0, token, r64 * w64[token, expert][:, None])
        assert_close(out, want.detach(), 1, atol)
        assert torch.equal(weights, probs.masked_select(map_)) and torch.equal(index, sorted_)
        grad = make((t, h), dtype, 4)
        want.backward(grad.double())
        rows_grad, probs_grad = torch.full((n, h), 7.0, dtype=dtype), torch.full((t, e), 7.0, dtype=dtype)
        call("aclnnMoeTokenUnpermuteWithRoutingMapGrad", grad, index, ids, given, rows, probs, False, shape, rows_grad, probs_grad)  # fmt: skip
        assert_close(rows_grad, r64.grad, 1, atol)
        assert_close(probs_grad, w64.grad, 1, 1e-4)
        call(
            "aclnnMoeTokenUnpermuteWithRoutingMap",
            rows,
            sorted_,
            None,
            None,
            False,
            shape,
            out,
            index,
            ids,
            None,
        )
        assert_close(out, torch.zeros(t, h, dtype=torch.float64).index_add(0, token, rows.double()), 1, atol)
        call("aclnnMoeTokenUnpermuteWithRoutingMapGrad", grad, index, ids, None, None, None, False, shape, rows_grad, None)  # fmt: skip
        assert torch.equal(rows_grad, grad[token])


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_routing_map_with_padding(dtype: torch.dtype) -> None:
    """Every expert has as many rows; where it has too few tokens, others fill them, with the weight that they have."""
    for t, e, capacity, h in ((7, 4, 3, 9), (30, 8, 30, 65), (5, 3, 0, 2), (130, 4, 50, 33)):
        map_ = make((t, e), torch.bool)
        tokens, probs = make((t, h), dtype), make((t, e), dtype, 1, 0, 1)
        n, shape = e * capacity, IntArray([t, h])
        token = map_.t().int().sort(dim=1, descending=True, stable=True)[1][:, :capacity].reshape(-1)
        expert = torch.arange(e).repeat_interleave(capacity)
        rows, weights, sorted_ = (
            torch.empty(n, h, dtype=dtype),
            torch.empty(n, dtype=dtype),
            torch.empty(n, dtype=I32),
        )
        call("aclnnMoeTokenPermuteWithRoutingMap", tokens, map_, probs, n, True, rows, weights, sorted_)
        assert torch.equal(rows, tokens[token]) and torch.equal(weights, probs[token, expert])
        assert torch.equal(sorted_, token.int())

        row_grad, weight_grad = make((n, h), dtype, 2), make((n,), dtype, 3)
        tokens_grad, probs_grad = torch.empty(t, h, dtype=dtype), torch.empty(t, e, dtype=dtype)
        call("aclnnMoeTokenPermuteWithRoutingMapGrad", row_grad, weight_grad, sorted_, map_, e, t, True, tokens_grad, probs_grad)  # fmt: skip
        assert_close(
            tokens_grad,
            torch.zeros(t, h, dtype=torch.float64).index_add(0, token, row_grad.double()),
            1,
            2e-5,
        )
        assert_close(probs_grad, torch.zeros(t, e, dtype=dtype).index_put((token, expert), weight_grad))

        r64, w64 = rows.double().requires_grad_(), probs.double().requires_grad_()
        want = torch.zeros(t, h, dtype=torch.float64).index_add(0, token, r64 * w64[token, expert][:, None])
        out, weights = torch.empty(t, h, dtype=dtype), torch.empty(n, dtype=dtype)
        index, ids = torch.empty(n, dtype=I32), torch.empty(n, dtype=I32)
        call(
            "aclnnMoeTokenUnpermuteWithRoutingMap",
            rows,
            sorted_,
            map_,
            probs,
            True,
            shape,
            out,
            index,
            ids,
            weights,
        )
        assert_close(out, want.detach(), 1, 2e-5)
        assert torch.equal(index, token.argsort(stable=True).int()) and torch.equal(
            ids, token.sort()[0].int()
        )
        assert torch.equal(weights, probs[token, expert])
        grad = make((t, h), dtype, 4)
        want.backward(grad.double())
        rows_grad, probs_grad = torch.empty(n, h, dtype=dtype), torch.empty(t, e, dtype=dtype)
        call("aclnnMoeTokenUnpermuteWithRoutingMapGrad", grad, index, ids, map_, rows, probs, True, shape, rows_grad, probs_grad)  # fmt: skip
        assert_close(rows_grad, r64.grad, 1, 1e-6)
        assert_close(probs_grad, w64.grad, 1, 1e-4)


def test_places_without_a_row() -> None:
    """Tokens with fewer experts than places have -1 there, and the map fewer ones."""
    map_ = torch.tensor([[1, 0, 1], [0, 1, 0]], dtype=torch.int8)
    sorted_, rows = torch.tensor([0, 2, 1, -1], dtype=I32), make((4, 5), torch.float32)
    probs, out = make((2, 3), torch.float32, 1), torch.empty(2, 5)
    index, ids, weights, shape = (
        torch.empty(4, dtype=I32),
        torch.empty(4, dtype=I32),
        torch.empty(4),
        IntArray([2, 5]),
    )
    call(
        "aclnnMoeTokenUnpermuteWithRoutingMap",
        rows,
        sorted_,
        map_,
        probs,
        False,
        shape,
        out,
        index,
        ids,
        weights,
    )
    assert_close(
        out,
        torch.stack([rows[0] * probs[0, 0] + rows[2] * probs[0, 2], rows[1] * probs[1, 1]]).double(),
        1,
        1e-6,
    )
    assert weights.tolist() == [*probs[0, [0, 2]].tolist(), probs[1, 1].item(), 0.0]
    grad, rows_grad, probs_grad = make((2, 5), torch.float32, 2), torch.empty(4, 5), torch.empty(2, 3)
    call(
        "aclnnMoeTokenUnpermuteWithRoutingMapGrad",
        grad,
        index,
        ids,
        map_,
        rows,
        probs,
        False,
        shape,
        rows_grad,
        probs_grad,
    )
    assert bool((rows_grad[3] == 0).all()) and probs_grad[0, 1] == 0 and probs_grad[1, 0] == 0
    assert_close(rows_grad[2], (grad[0] * probs[0, 2]).double(), 1, 1e-6)


def test_values_that_are_not_finite_reach_their_token_alone() -> None:
    rows = torch.ones(4, 3)
    rows[2, 1] = float("nan")
    out = torch.empty(2, 3)
    call(
        "aclnnMoeTokenUnpermute",
        rows,
        torch.tensor([0, 2, 1, 3], dtype=I32),
        torch.ones(2, 2),
        False,
        None,
        out,
    )
    assert out.isnan().tolist() == [[False, True, False], [False, False, False]]


HOSTILE = (2**31 - 1, -(2**31), -2, 1000)
INDEXED: dict[str, Callable[[torch.Tensor], object]] = {
    "aclnnMoeTokenPermute": lambda i: call("aclnnMoeTokenPermute", torch.ones(4, 3), i, 4, True, torch.ones(4, 3), torch.ones(4, dtype=I32)),
    "aclnnMoeTokenPermuteGrad": lambda i: call("aclnnMoeTokenPermuteGrad", torch.ones(4, 3), i, 2, False, torch.ones(2, 3)),
    "aclnnMoeTokenUnpermute": lambda i: call("aclnnMoeTokenUnpermute", torch.ones(4, 3), i, torch.ones(2, 2), False, None, torch.ones(2, 3)),
    "aclnnMoeTokenUnpermuteGrad": lambda i: call(
        "aclnnMoeTokenUnpermuteGrad", torch.ones(4, 3), torch.ones(2, 3), i, torch.ones(2, 2), False, None, torch.ones(4, 3), torch.ones(2, 2)),
    "aclnnMoeTokenPermuteWithRoutingMapGrad": lambda i: call(
        "aclnnMoeTokenPermuteWithRoutingMapGrad", torch.ones(4, 3), None, i, None, 2, 2, False, torch.ones(2, 3), None),
    "aclnnMoeTokenUnpermuteWithRoutingMap": lambda i: call(
        "aclnnMoeTokenUnpermuteWithRoutingMap", torch.ones(4, 3), i, None, None, False, IntArray([2, 3]), torch.ones(2, 3),
        torch.ones(4, dtype=I32), torch.ones(4, dtype=I32), None),
    "aclnnMoeTokenUnpermuteWithRoutingMapGrad": lambda i: call(
        "aclnnMoeTokenUnpermuteWithRoutingMapGrad", torch.ones(2, 3), i, torch.zeros(4, dtype=I32), None, None, None, True, IntArray([2, 3]),
        torch.ones(4, 3), None),
}  # fmt: skip


@pytest.mark.parametrize("name", INDEXED)
@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_indices(name: str, value: int) -> None:
    for at in (0, 3):
        index = torch.zeros(4, dtype=I32)
        index[at] = value
        with pytest.raises(
            OperatorError, match=rf"{name}: index {value} at position \[{at}\] of \w+ is out of range"
        ):
            INDEXED[name](index)


def test_hostile_experts() -> None:
    for value in (2**62, -1, 2**24):
        with pytest.raises(
            OperatorError,
            match=rf"index {value} at position \[2\] of indices is out of range: wanted 0 to 16777215",
        ):
            call(
                "aclnnMoeTokenPermute",
                torch.ones(4, 3),
                torch.tensor([0, 0, value, 0]),
                4,
                False,
                torch.ones(4, 3),
                torch.ones(4, dtype=I32),
            )


f, i4 = torch.ones, torch.zeros(4, dtype=I32)
BAD = [
    ("tokens is float32[4], wanted [any,any]", "aclnnMoeTokenPermute", (f(4), i4, 4, False, f(4, 3), i4)),
    ("indices is int32[4] for tokens float32[5,3]", "aclnnMoeTokenPermute", (f(5, 3), i4, 4, False, f(4, 3), i4)),
    ("indices is float32[4], wanted 4 integers", "aclnnMoeTokenPermute", (f(4, 3), f(4), 4, False, f(4, 3), i4)),
    ("permuteTokensOut is float32[4,3], wanted [2,3]", "aclnnMoeTokenPermute", (f(4, 3), i4, 2, False, f(4, 3), i4)),
    ("permuteTokensOut is bfloat16[4,3]", "aclnnMoeTokenPermute", (f(4, 3), i4, 4, False, f(4, 3).bfloat16(), i4)),
    ("numTopk is 0", "aclnnMoeTokenPermuteGrad", (f(4, 3), i4, 0, False, f(4, 3))),
    ("sortedIndices is int32[4], wanted 6 integers", "aclnnMoeTokenPermuteGrad", (f(4, 3), i4, 3, False, f(2, 3))),
    ("numTopk is 9223372036854775807", "aclnnMoeTokenPermuteGrad", (f(4, 3), i4, 2**63 - 1, False, f(4, 3))),
    ("permutedTokens is int32[4,3], wanted floating point", "aclnnMoeTokenUnpermute", (f(4, 3).int(), i4, None, False, None, f(4, 3))),
    ("restoreShapeOptional is not the shape of out, float32[2,3]", "aclnnMoeTokenUnpermute", (f(4, 3), i4, None, True, IntArray([3, 3]), f(2, 3))),
    ("permuteTokensOptional is null", "aclnnMoeTokenUnpermuteGrad", (None, f(2, 3), i4, f(2, 2), False, None, f(4, 3), f(2, 2))),
    ("routingMap is float32[4,2], wanted bool or int8", "aclnnMoeTokenPermuteWithRoutingMap", (f(4, 3), f(4, 2), None, 4, False, f(4, 3), None, i4)),
    ("routingMap has 8 ones, wanted 4", "aclnnMoeTokenPermuteWithRoutingMap", (f(4, 3), f(4, 2).bool(), None, 4, False, f(4, 3), None, i4)),
    ("row 1 of routingMap has not 1 ones", "aclnnMoeTokenPermuteWithRoutingMap",
     (f(4, 3), torch.tensor([[1, 0], [1, 1], [0, 0], [0, 1]]).bool(), None, 4, False, f(4, 3), None, i4)),
    ("numOutTokens is -1, wanted 0 to 8", "aclnnMoeTokenPermuteWithRoutingMap", (f(4, 3), f(4, 2).bool(), None, -1, False, f(4, 3), None, i4)),
    ("numOutTokens is 9223372036854775807", "aclnnMoeTokenPermuteWithRoutingMap", (f(4, 3), f(4, 2).bool(), None, 2**63 - 1, True, f(4, 3), None, i4)),
    ("routingMapOptional has more than 4 ones", "aclnnMoeTokenPermuteWithRoutingMapGrad", (f(4, 3), None, i4, f(4, 2).bool(), 2, 4, False, f(4, 3), None)),
    ("routingMapOptional has 0 ones, wanted 4", "aclnnMoeTokenPermuteWithRoutingMapGrad", (f(4, 3), None, i4, (f(4, 2) * 0).bool(), 2, 4, False, f(4, 3), None)),
    ("is too large", "aclnnMoeTokenPermuteWithRoutingMapGrad", (f(4, 3), None, i4, None, 2**62, 4, True, f(4, 3), None)),
    ("row 0 of routingMapOptional has more ones than each token has rows, 2", "aclnnMoeTokenUnpermuteWithRoutingMap",
     (f(4, 3), i4, f(2, 3).bool(), f(2, 3), False, IntArray([2, 3]), f(2, 3), i4, i4, f(4))),
    ("routingMapOptional is null", "aclnnMoeTokenUnpermuteWithRoutingMap", (f(4, 3), i4, None, f(2, 3), False, None, f(2, 3), i4, i4, f(4))),
    ("wanted as many rows for each of 3 tokens", "aclnnMoeTokenUnpermuteWithRoutingMap", (f(4, 3), i4, None, None, False, None, f(3, 3), i4, i4, None)),
]  # fmt: skip


@pytest.mark.parametrize(("text", "name", "arguments"), BAD, ids=[b[0] for b in BAD])
def test_bad_input(text: str, name: str, arguments: tuple) -> None:
    with pytest.raises(OperatorError) as error:
        call(name, *arguments)
    assert text in error.value.text and name in error.value.text
