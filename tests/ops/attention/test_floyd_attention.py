# SPDX-License-Identifier: Apache-2.0
"""Attention over paths of two steps and its gradient, against float64."""

from __future__ import annotations

import math

import pytest
import torch
from aclnn import OperatorError, call
from compare import assert_close, layouts, make

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
ATOL = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}
FORWARD, BACKWARD = "aclnnFusedFloydAttention", "aclnnFusedFloydAttentionGrad"
# B, N, rows i, columns k, j between them, elements.
SIZES = ((1, 1, 1, 1, 1, 1), (2, 3, 4, 5, 7, 8), (1, 2, 3, 17, 33, 16), (2, 1, 9, 2, 70, 5))


def inputs(size: tuple[int, ...], dtype: torch.dtype) -> list[torch.Tensor]:
    """q, k1, v1, k2, v2, dy."""
    b, n, i, k, j, d = size
    shapes = ((i, k), (i, j), (i, j), (j, k), (j, k), (i, k))
    return [make((b, n, *s, d), dtype, seed, -2, 2) for seed, s in enumerate(shapes)]


def reference(
    q: torch.Tensor,
    k1: torch.Tensor,
    v1: torch.Tensor,
    k2: torch.Tensor,
    v2: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    s = torch.einsum("bnikd,bnijd->bnikj", q, k1) + torch.einsum("bnikd,bnjkd->bnikj", q, k2)
    if mask is not None:
        # What float32 leaves of s - 4e9, which lets gradients through.
        s = torch.where(mask.bool(), s - s.detach() - 4e9, s)
    s = s * scale
    top = s.amax(-1, keepdim=True)
    e = (s - top).exp()
    total = e.sum(-1, keepdim=True)
    p = e / total
    out = torch.einsum("bnikj,bnijd->bnikd", p, v1) + torch.einsum("bnikj,bnjkd->bnikd", p, v2)
    return top.expand(*top.shape[:-1], 8), total.expand(*top.shape[:-1], 8), out


def masks(size: tuple[int, ...]) -> list[torch.Tensor | None]:
    b, _, i, _, j, _ = size
    some = torch.rand(b, 1, i, 1, j, generator=torch.Generator().manual_seed(3)) < 0.4
    some[..., 0] = False
    rows = some.clone()
    rows[0, 0, 0] = True  # a row that sees nothing: the mean of all
    return [None, some, some.to(torch.uint8) * 3, rows, some[:1, :, :1]]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_forward_and_backward(dtype: torch.dtype, size: tuple[int, ...]) -> None:
    scale = 1 / math.sqrt(size[-1])
    given = inputs(size, dtype)
    for mask in masks(size):
        leaves = [t.double().requires_grad_() for t in given[:5]]
        top, total, want = reference(*leaves, mask, scale)
        grads = torch.autograd.grad(want, leaves, given[5].double())
        for k in range(3):
            q, k1, v1, k2, v2, dy = (list(layouts(t))[k][1] for t in given)
            stats = [torch.full((*q.shape[:4], 8), 9.0) for _ in range(2)]
            out = torch.zeros((*q.shape[:-1], q.shape[-1] * 2), dtype=dtype)[..., ::2]
            call(FORWARD, q, k1, v1, k2, v2, mask, scale, *stats, out)
            assert_close(stats[0], top.detach(), 4, 1e-5)
            assert_close(stats[1], total.detach(), 16, 1e-5)
            assert_close(out, want.detach(), 1, 4 * ATOL[torch.float32])
            got = [torch.full_like(t, 9) for t in (q, k1, v1, k2, v2)]
            call(BACKWARD, q, k1, v1, k2, v2, dy, mask, *stats, out, scale, got[0], *got[1:])
            for g, w in zip(got, grads, strict=True):
                assert_close(g, w, 2, 8 * ATOL[dtype])


def test_rows_of_several_chunks() -> None:
    """More scores than are made at once; what is added up over chunks is the same sum."""
    given = inputs((1, 1, 5, 1100, 1900, 2), torch.float32)
    _, _, want = reference(*(t.double() for t in given[:5]), None, 0.5)
    stats, out = [torch.empty(1, 1, 5, 1100, 8) for _ in range(2)], torch.empty_like(given[0])
    call(FORWARD, *given[:5], None, 0.5, *stats, out)
    assert_close(out, want, 1, 1e-5)
    leaves = [t.double().requires_grad_() for t in given[:5]]
    grads = torch.autograd.grad(reference(*leaves, None, 0.5)[2], leaves, given[5].double())
    got = [torch.empty_like(t) for t in given[:5]]
    call(BACKWARD, *given[:5], given[5], None, *stats, out, 0.5, *got)
    for g, w in zip(got, grads, strict=True):
        assert_close(g, w, 2, 1e-4)


def test_empty() -> None:
    for size in ((0, 2, 3, 4, 5, 8), (1, 2, 0, 4, 5, 8), (1, 2, 3, 0, 5, 8), (1, 2, 3, 4, 5, 0)):
        given = inputs(size, torch.float32)
        stats, out = (
            [torch.full((*given[0].shape[:4], 8), 9.0) for _ in range(2)],
            torch.full_like(given[0], 9),
        )
        call(FORWARD, *given[:5], None, 1.0, *stats, out)
        got = [torch.full_like(t, 9) for t in given[:5]]
        call(BACKWARD, *given[:5], given[5], None, *stats, out, 1.0, *got)
        assert all(g.eq(0).all() for g in got)


def test_no_numbers() -> None:
    given = inputs((1, 1, 2, 2, 3, 4), torch.float32)
    given[0][0, 0, 1, 1, 0] = math.nan
    stats, out = [torch.empty(1, 1, 2, 2, 8) for _ in range(2)], torch.empty_like(given[0])
    call(FORWARD, *given[:5], None, 1.0, *stats, out)
    assert out[0, 0, 1, 1].isnan().all() and out.isnan().sum() == 4


def test_outputs_in_the_memory_of_inputs() -> None:
    given = inputs((1, 1, 4, 5, 7, 8), torch.float32)
    want, stats = torch.empty_like(given[0]), [torch.empty(1, 1, 4, 5, 8) for _ in range(2)]
    call(FORWARD, *given[:5], None, 1.0, *stats, want)
    out = given[0].clone()
    call(FORWARD, out, *given[1:5], None, 1.0, *stats, out)
    assert torch.equal(out, want)


def test_bad_input() -> None:
    q, k1, v1, k2, v2, dy = inputs((2, 3, 4, 5, 7, 8), torch.float32)
    stats = [torch.empty(2, 3, 4, 5, 8) for _ in range(2)]
    good = [q, k1, v1, k2, v2, None, 1.0, *stats, torch.empty_like(q)]
    mask = torch.zeros(2, 1, 4, 1, 7, dtype=torch.bool)
    cases = [
        (0, None, "query is null"),
        (0, q[0], "query is float32[3,4,5,8]"),
        (0, q.double(), "query is float64"),
        (1, None, "key1 is null"),
        (1, k1[:, :, :3], "key1 is float32[2,3,3,7,8]"),
        (2, v1[..., :4], "value1 is float32[2,3,4,7,4]"),
        (3, k1, "key2 is float32[2,3,4,7,8]"),
        (4, None, "value2 is null"),
        (5, mask.float(), "attenMaskOptional is float32"),
        (5, mask[..., :3], "attenMaskOptional is bool[2,1,4,1,3]"),
        (7, None, "softmaxMaxOut is null"),
        (8, stats[0][..., :1], "softmaxSumOut is float32[2,3,4,5,1]"),
        (9, None, "attentionOutOut is null"),
    ]
    for at, bad, text in cases:
        with pytest.raises(OperatorError, match=f"{FORWARD}: ") as e:
            call(FORWARD, *good[:at], bad, *good[at + 1 :])
        assert text in e.value.text, e.value.text
    grads = [torch.empty_like(t) for t in (q, k1, v1, k2, v2)]
    good = [q, k1, v1, k2, v2, dy, None, *stats, q, 1.0, *grads]
    for at, name in (
        (5, "dy"),
        (7, "softmaxMax"),
        (8, "softmaxSum"),
        (9, "attentionIn"),
        (11, "dqOut"),
        (15, "dv2Out"),
    ):
        with pytest.raises(OperatorError, match=f"{BACKWARD}: {name} is null"):
            call(BACKWARD, *good[:at], None, *good[at + 1 :])
        with pytest.raises(OperatorError, match=f"{BACKWARD}: {name} is float32\\[1\\]"):
            call(BACKWARD, *good[:at], torch.empty(1), *good[at + 1 :])
