# SPDX-License-Identifier: Apache-2.0
"""KvRmsNormRopeCache (V2) and QkvRmsNormRopeCache: caches of every layout against float64."""

from __future__ import annotations

import pytest
import torch
from aclnn import IntArray, OperatorError, call
from compare import assert_close, layouts, make

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
MODES = ("Norm", "PA", "PA_BNSD", "PA_NZ", "PA_BLK_BNSD", "PA_BLK_NZ")
ATOL = {torch.float32: 4e-6, torch.bfloat16: 3e-2, torch.float16: 4e-3}
EPS = 1e-5
B, S, PAGE, PAGES, LENGTH = 3, 5, 4, 9, 7


def rms(x: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
    return x.double() / (x.double().square().mean(-1, keepdim=True) + EPS).sqrt() * gamma.double()


def rope(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    a, b = x.double().chunk(2, -1)
    return x.double() * cos.double() + torch.cat((-b, a), -1) * sin.double()


def halves(x: torch.Tensor) -> torch.Tensor:
    return torch.cat((x[..., ::2], x[..., 1::2]), -1)


def quantise(x: torch.Tensor, scale: torch.Tensor | None, offset: torch.Tensor | None) -> torch.Tensor:
    if scale is None:
        return x
    x = x.float() * scale
    return (x if offset is None else x + offset).round().clamp(-128, 127)


def make_index(mode: str) -> tuple[torch.Tensor, list[int]]:
    """The operator's index and the slot of each token, -1 for none."""
    g = torch.Generator().manual_seed(5)
    if mode == "Norm":
        index = torch.stack([torch.randperm(LENGTH, generator=g)[:S] for _ in range(B)])
        index[1, 2] = -1
        return index, [-1 if t < 0 else b * LENGTH + t for b in range(B) for t in index[b].tolist()]
    if "BLK" in mode:
        index = torch.randperm(PAGES, generator=g)[: B * 2] * PAGE
        index[3] = -1
        starts = index.reshape(B, 2).tolist()
        slots = [
            -1 if starts[b][t // PAGE] < 0 else starts[b][t // PAGE] + t % PAGE
            for b in range(B)
            for t in range(S)
        ]
        return index, slots
    index = torch.randperm(PAGES * PAGE, generator=g)[: B * S]
    index[4] = -1
    index[6] = index[2]
    return index, index.tolist()


def new_cache(mode: str, width: int, dtype: torch.dtype) -> torch.Tensor:
    shape = (B, 1, LENGTH, width) if mode == "Norm" else (PAGES, PAGE, 1, width)
    return torch.full(shape, 9, dtype=dtype)


def by_slot(cache: torch.Tensor, mode: str, width: int) -> torch.Tensor:
    """[slots, width] whatever the layout."""
    if "NZ" in mode:
        run = 32 // cache.element_size()
        cache = cache.reshape(PAGES, width // run, PAGE, run).transpose(1, 2)
    return cache.reshape(-1, width)


def filled(rows: torch.Tensor, slots: list[int], cache: torch.Tensor, width: int) -> torch.Tensor:
    want = torch.full((cache.numel() // width, width), 9, dtype=torch.float64)
    for row, slot in zip(rows.reshape(-1, width), slots, strict=True):
        if slot >= 0:
            want[slot] = row
    return want


def check_cache(cache: torch.Tensor, want: torch.Tensor, mode: str, dtype: torch.dtype) -> None:
    got = by_slot(cache, mode, want.shape[-1])
    if cache.dtype == torch.int8:  # a product next to a half may round the other way
        assert (got.double() - want).abs().max() <= 1
        assert (got.double() == want).double().mean() > 0.99
    else:
        assert_close(got, want, 2, ATOL[dtype])


@pytest.mark.parametrize("quantised", [False, True])
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_kv(dtype: torch.dtype, mode: str, whole: bool, quantised: bool) -> None:
    normal, rotated, values = 64, 32, 96
    size = normal if whole else normal + rotated
    key_width, value_width = (size, values) if whole else (rotated, normal)
    gamma = make((normal,), dtype, 1)
    cos, sin = make((B, 1, S, rotated), dtype, 2), make((B, 1, S, rotated), dtype, 3)
    index, slots = make_index(mode)
    v = make((B, 1, S, values), dtype, 4) if whole else None
    scales = [make((n,), torch.float32, 6, 1, 9) if quantised else None for n in (key_width, value_width)]
    offsets = [make((n,), torch.float32, 7) if quantised else None for n in (key_width, value_width)]
    for _, kv in layouts(make((B, 1, S, size), dtype)):
        x = rms(kv if whole else kv[..., :normal], gamma)
        if whole:
            assert v is not None
            key, value = (
                torch.cat((rope(halves(x[..., :rotated]), cos, sin), x[..., rotated:]), -1),
                v.double(),
            )
        else:
            key, value = rope(halves(kv[..., normal:]), cos, sin), x
        caches = [new_cache(mode, w, torch.int8 if quantised else dtype) for w in (key_width, value_width)]
        outs = [torch.full((B, 1, S, w), 7, dtype=dtype) for w in (key_width, value_width)]
        args = [kv, gamma, cos, sin, index, *caches, *scales, *offsets]
        args += [v] if whole else []
        call(f"aclnnKvRmsNormRopeCache{'V2' if whole else ''}", *args, EPS, mode, True, *outs)
        for got, rows, out, scale, offset in zip(caches, (key, value), outs, scales, offsets, strict=True):
            assert_close(out, rows, 2, ATOL[dtype])
            want = filled(quantise(rows, scale, offset), slots, got, rows.shape[-1])
            check_cache(got, want, mode, dtype)


def test_kv_leaves_outputs_alone_and_refuses() -> None:
    kv, gamma, angles = (
        make((1, 1, 2, 24), torch.float32),
        make((16,), torch.float32),
        make((1, 1, 2, 8), torch.float32),
    )
    index = torch.tensor([0, 1])
    caches = [torch.zeros(2, 4, 1, n) for n in (8, 16)]
    outs = [torch.full((1, 1, 2, n), 7.0) for n in (8, 16)]
    good = [kv, gamma, angles, angles, index, *caches, None, None, None, None, EPS, "PA", False, *outs]
    call("aclnnKvRmsNormRopeCache", *good)
    assert all((o == 7).all() for o in outs)
    for at, bad, text in (
        (0, kv.double(), "kv is float64"),
        (1, gamma[:8], "kv is"),
        (4, torch.tensor([0, 8]), "index has 8 at 1, wanted"),
        (4, torch.tensor([0]), "index is int64"),
        (5, torch.zeros(2, 4, 1, 8, dtype=torch.int8), "the scale of kCacheRef"),
        (5, torch.zeros(2, 4, 1, 9), "kCacheRef is"),
        (6, torch.zeros(3, 4, 1, 16), "ckvCacheRef is"),
        (7, torch.ones(8), "scales are for int8"),
        (12, "PA_XX", 'cacheModeOptional is "PA_XX"'),
    ):
        with pytest.raises(OperatorError, match="aclnnKvRmsNormRopeCache") as e:
            call("aclnnKvRmsNormRopeCache", *good[:at], bad, *good[at + 1 :])
        assert text in e.value.text
    call("aclnnKvRmsNormRopeCache", torch.empty(0, 1, 2, 24), gamma, torch.empty(0, 1, 2, 8), torch.empty(0, 1, 2, 8),
         torch.empty(0, dtype=torch.int64), *caches, None, None, None, None, EPS, "PA", False, *outs)  # fmt: skip


@pytest.mark.parametrize("quantised", [False, True])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_qkv(dtype: torch.dtype, shared: bool, quantised: bool) -> None:
    nq, nk, nv, d, run = 4, 2, 3, 64, 32
    tokens = B * S
    q_gamma, k_gamma = make((d,), dtype, 1), make((d,), dtype, 2)
    rows = B if shared else tokens
    cos, sin = make((rows, d), dtype, 3), make((rows, d), dtype, 4)
    index, slots = make_index("PA")
    scales = [make((n, d), torch.float32, 5, 0.01, 0.1) if quantised else None for n in (nk, nv)]
    offsets = [make((n, d), torch.float32, 6) if quantised else None for n in (nk, nv)]
    for _, qkv in layouts(make((tokens, (nq + nk + nv) * d), dtype)):
        q, k, v = (t.reshape(tokens, -1, d) for t in qkv.split([nq * d, nk * d, nv * d], -1))
        c, s = (t.repeat_interleave(S, 0)[:, None] if shared else t[:, None] for t in (cos, sin))
        want = [rope(rms(q, q_gamma), c, s), rope(rms(k, k_gamma), c, s), v.double()]
        kind = torch.int8 if quantised else dtype
        caches = [torch.full((PAGES, n * d // run, PAGE, run), 9, dtype=kind) for n in (nk, nv)]
        before = [torch.empty(tokens, n * d, dtype=dtype) for n in (nq, nk, nv)]
        q_out = torch.empty(tokens, nq * d, dtype=dtype)
        call("aclnnQkvRmsNormRopeCache", qkv, q_gamma, k_gamma, cos, sin, index, q_out, *caches, *scales, *offsets,
             IntArray([B, S, nq + nk + nv, d]), IntArray([nq, nk, nv]), EPS, "PA_NZ", *before)  # fmt: skip
        for out, t in zip((q_out, *before), (want[0], *want), strict=True):
            assert_close(out, t.reshape(tokens, -1), 2, ATOL[dtype])
        for cache, t, scale, offset in zip(caches, want[1:], scales, offsets, strict=True):
            flat = t if scale is None else (t.float() / scale + offset).round().clamp(-128, 127)
            width = flat[0].numel()
            got = cache.transpose(1, 2).reshape(-1, width)
            check_cache(got, filled(flat, slots, cache, width), "PA", dtype)


def test_qkv_refuses() -> None:
    x, g, a = torch.ones(2, 12), torch.ones(4), torch.ones(2, 4)
    cache = [torch.zeros(1, 1, 4, 4) for _ in range(2)]
    good = [x, g, g, a, a, torch.tensor([0, 1]), torch.empty(2, 4), *cache, None, None, None, None,
            IntArray([1, 2, 3, 4]), IntArray([1, 1, 1]), EPS, "PA_NZ", None, None, None]  # fmt: skip
    call("aclnnQkvRmsNormRopeCache", *good)
    for at, bad, text in (
        (3, torch.ones(2, 8), "sin is"),
        (3, torch.ones(3, 4), "wanted float32, bfloat16 or float16 [3,4]"),
        (5, torch.tensor([0, 4]), "index has 4"),
        (7, torch.zeros(1, 1, 4, 4, dtype=torch.int8), "kCache is"),
        (13, IntArray([1, 2, 3]), "qkvSize has 3"),
        (14, IntArray([1, 1, 2]), "headNums add up to 4"),
        (16, "PA", "PA_NZ is supported"),
    ):
        with pytest.raises(OperatorError, match="aclnnQkvRmsNormRopeCache") as e:
            call("aclnnQkvRmsNormRopeCache", *good[:at], bad, *good[at + 1 :])
        assert text in e.value.text
