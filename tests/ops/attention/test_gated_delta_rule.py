# SPDX-License-Identifier: Apache-2.0
"""The gated delta rule token by token, and over whole sequences, against float64."""

from __future__ import annotations

import pytest
import torch
from aclnn import OperatorError, call
from compare import assert_close, layouts, make

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
ATOL = {torch.float32: 2e-5, torch.bfloat16: 2e-2, torch.float16: 3e-3}
SHAPES = (
    (1, 1, 1, 1),
    (2, 4, 16, 8),
    (2, 2, 33, 40),
    (1, 3, 128, 70),
)  # key heads, heads, key size, value size


def inputs(tokens: int, shape: tuple[int, int, int, int], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    nk, nv, dk, dv = shape
    unit = lambda t: torch.nn.functional.normalize(t.float(), dim=-1).to(dtype)  # noqa: E731
    return {
        "q": unit(make((tokens, nk, dk), dtype, 1)),
        "k": unit(make((tokens, nk, dk), dtype, 2)),
        "v": make((tokens, nv, dv), dtype, 3),
        "beta": make((tokens, nv), dtype, 4, 0, 1),
        "g": make((tokens, nv), torch.float32, 5, -1, 0),
        "gk": make((tokens, nv, dk), torch.float32, 6, -1, 0),
    }


def step(
    s: torch.Tensor, x: dict, t: int, h: int, scale: float, use: str
) -> tuple[torch.Tensor, torch.Tensor]:
    group = x["v"].shape[1] // x["k"].shape[1]
    k, q, v = x["k"][t, h // group].double(), x["q"][t, h // group].double(), x["v"][t, h].double()
    if "g" in use.split():
        s = s * x["g"][t, h].double().exp()
    if "gk" in use.split():
        s = s * x["gk"][t, h].double().exp()
    beta = x["beta"][t, h].double() if "beta" in use.split() else 1.0
    s = s + torch.outer((v - s @ k) * beta, k)
    return s, s @ q * scale


def given(x: dict, name: str, use: str) -> torch.Tensor | None:
    return x[name] if name in use.split() else None


@pytest.mark.parametrize("use", ["", "beta g", "beta g gk"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_recurrent(dtype: torch.dtype, shape: tuple[int, int, int, int], use: str) -> None:
    _, nv, dk, dv = shape
    lengths, accepted, scale = [2, 1, 0, 3], [2, 1, 1, 3], 0.5
    tokens = sum(lengths) + 1
    x = inputs(tokens, shape, dtype)
    slots = torch.randperm(9, generator=torch.Generator().manual_seed(7))[:tokens].int()
    start = make((9, nv, dv, dk), dtype, 8)
    for with_accepted in (False, True):
        want, kept = torch.zeros(tokens, nv, dv, dtype=torch.float64), start.double()
        at = 0
        for i, n in enumerate(lengths):
            first = start.double()[slots[at + (accepted[i] - 1 if with_accepted else 0)]]
            for h in range(nv if n else 0):
                s = first[h]
                for t in range(at, at + n):
                    s, want[t, h] = step(s, x, t, h, scale, use)
                    kept[slots[t], h] = s
            at += n
        for _, state in layouts(start):
            state = state.clone(memory_format=torch.preserve_format)
            out = torch.full((tokens, nv, dv), 7, dtype=dtype)
            call("aclnnRecurrentGatedDeltaRule", x["q"], x["k"], x["v"], given(x, "beta", use), state,
                 torch.tensor(lengths, dtype=torch.int32), slots, given(x, "g", use), given(x, "gk", use),
                 torch.tensor(accepted, dtype=torch.int32) if with_accepted else None, scale, out)  # fmt: skip
            assert_close(out, want, 2, ATOL[dtype])
            assert_close(state, kept, 2, ATOL[dtype])


@pytest.mark.parametrize("use", ["", "beta g"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_whole_sequences(dtype: torch.dtype, shape: tuple[int, int, int, int], use: str) -> None:
    _, nv, dk, dv = shape
    lengths, scale = [40, 0, 5], 0.25
    tokens = sum(lengths)
    x = inputs(tokens, shape, dtype)
    start = make((3, nv, dv, dk), dtype, 8, -1, 1)
    want, last = torch.empty(tokens, nv, dv, dtype=torch.float64), start.double()
    at = 0
    for i, n in enumerate(lengths):
        for h in range(nv):
            for t in range(at, at + n):
                last[i, h], want[t, h] = step(last[i, h], x, t, h, scale, use)
        at += n
    for _, initial in layouts(start):
        out, final = torch.empty(tokens, nv, dv, dtype=dtype), torch.empty_like(start)
        call("aclnnChunkGatedDeltaRule", x["q"], x["k"], x["v"], given(x, "beta", use), initial,
             torch.tensor(lengths, dtype=torch.int32), scale, given(x, "g", use), out, final)  # fmt: skip
        assert_close(out, want, 2, ATOL[dtype])
        assert_close(final, last, 2, ATOL[dtype])


def test_refuses() -> None:
    x = inputs(3, (1, 2, 8, 4), torch.float32)
    state, out = torch.zeros(4, 2, 4, 8), torch.empty(3, 2, 4)
    lengths, slots = torch.tensor([1, 2]), torch.tensor([0, 1, 2])
    good = [x["q"], x["k"], x["v"], None, state, lengths, slots, None, None, None, 1.0, out]
    call("aclnnRecurrentGatedDeltaRule", *good)
    for at, bad, text in (
        (0, x["q"].double(), "query is float64"),
        (2, x["v"][:, :, None], "value is"),
        (3, torch.ones(3, 1), "beta is"),
        (4, torch.zeros(4, 2, 4, 9), "stateRef is"),
        (5, torch.tensor([1, 3]), "actualSeqLengths name more than the 3 tokens"),
        (6, torch.tensor([0, 1, 4]), "ssmStateIndices has 4 at 2"),
        (9, torch.tensor([1, 3]), "numAcceptedTokens has 3 at 1, wanted 1 to the sequence's 2 tokens"),
        (11, torch.empty(3, 2, 5), "out is"),
    ):
        with pytest.raises(OperatorError, match="aclnnRecurrentGatedDeltaRule") as e:
            call("aclnnRecurrentGatedDeltaRule", *good[:at], bad, *good[at + 1 :])
        assert text in e.value.text
