# SPDX-License-Identifier: Apache-2.0
"""The inputs of the next step of decoding, against loops over sequences."""

from __future__ import annotations

import pytest
import torch
from aclnn import OperatorError, call

INTS = (torch.int64, torch.int32)


def numbers(
    *shape: int, low: int = 5, high: int = 50, dtype: torch.dtype = torch.int64, seed: int = 0
) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randint(low, high, shape, generator=g).to(dtype)


def spread(t: torch.Tensor) -> torch.Tensor:
    """The same numbers with gaps."""
    wide = torch.full((*t.shape[:-1], 2 * t.shape[-1]), -9, dtype=t.dtype)
    wide[..., ::2] = t
    return wide[..., ::2]


@pytest.mark.parametrize("dtype", INTS, ids=str)
@pytest.mark.parametrize("gaps", [False, True])
def test_a_token_for_each_sequence(dtype: torch.dtype, gaps: bool) -> None:
    for sequences, queries, block in ((1, 1, 1), (4, 2, 3), (7, 7, 16), (50, 41, 8), (3, 0, 4)):
        state = [numbers(sequences, dtype=dtype, seed=i) for i in range(4)]
        sampled, table = (
            numbers(queries, 1, dtype=dtype, seed=5),
            numbers(sequences, 50 // block + 1, dtype=dtype, seed=6),
        )
        want = [t.clone() for t in state]
        for q in range(sequences):
            p = int(state[2][q])
            if q < queries:
                slot = int(table[q, p // block]) * block + p % block
                values = (int(sampled[q, 0]), p, p + 1, slot)
            else:
                values = (0, 0, p, -1)
            for t, v in zip(want, values, strict=True):
                t[q] = v
        got = [spread(t) if gaps else t.clone() for t in state]
        tokens, positions, lengths, slots = got
        call("aclnnAdvanceStep", tokens, spread(sampled) if gaps else sampled, positions, lengths, slots, table,
             sequences, queries, block)  # fmt: skip
        assert all(torch.equal(g, w) for g, w in zip(got, want, strict=True))


@pytest.mark.parametrize("dtype", INTS, ids=str)
@pytest.mark.parametrize("guesses", [0, 1, 3])
def test_guesses(dtype: torch.dtype, guesses: int) -> None:
    sequences, block, each = 5, 8, 1 + guesses
    state = [numbers(sequences * each, dtype=dtype, seed=i) for i in range(4)]
    sampled, spec = (
        numbers(sequences, each, dtype=dtype, seed=5),
        numbers(sequences, guesses, dtype=dtype, seed=6),
    )
    if guesses:
        sampled[1, 1:] = -1
    accepted, table = (
        numbers(sequences, low=0, high=4, dtype=dtype),
        numbers(sequences, 10, dtype=dtype, seed=7),
    )
    want = [t.clone() for t in state]
    for at in range(sequences * each):
        q, guess = divmod(at, each)
        p = int(state[1][at] + accepted[q]) + 1
        token = spec[q, guess - 1] if guess else sampled[q][sampled[q] != -1][-1]
        values = (int(token), p, p + 1, int(table[q, p // block]) * block + p % block)
        for t, v in zip(want, values, strict=True):
            t[at] = v
    got = [t.clone() for t in state]
    call(
        "aclnnAdvanceStepV2",
        got[0],
        sampled,
        got[1],
        got[2],
        got[3],
        table,
        spec,
        accepted,
        sequences,
        sequences,
        block,
    )
    assert all(torch.equal(g, w) for g, w in zip(got, want, strict=True))


def test_empty() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    call(
        "aclnnAdvanceStep",
        none,
        none.view(0, 1),
        none,
        none,
        none,
        torch.zeros(0, 3, dtype=torch.int64),
        0,
        0,
        4,
    )


def test_wrong_numbers_write_nothing() -> None:
    for change, text in (
        (lambda t: t["lengths"].fill_(8), r"row 0 goes on at position 8, blockTables has 2 pages of 4"),
        (lambda t: t["lengths"].fill_(-1), r"row 0 goes on at position -1"),
        (lambda t: t["lengths"][1:].fill_(2**63 - 2), r"row 1 goes on at position 9223372036854775806"),
        (lambda t: t["table"][1].fill_(-1), r"blockTables has -1 at \[1,0\], which is no page"),
        (lambda t: t["table"][1].fill_(2**62), r"blockTables has 4611686018427387904 at \[1,0\]"),
    ):
        t = {n: torch.ones(2, dtype=torch.int64) for n in ("tokens", "positions", "lengths", "slots")}
        t["table"] = torch.ones(2, 2, dtype=torch.int64)
        change(t)
        before = {n: x.clone() for n, x in t.items()}
        with pytest.raises(OperatorError, match="aclnnAdvanceStep: " + text):
            call(
                "aclnnAdvanceStep",
                t["tokens"],
                torch.full((2, 1), 7),
                t["positions"],
                t["lengths"],
                t["slots"],
                t["table"],
                2,
                2,
                4,
            )
        assert all(torch.equal(x, before[n]) for n, x in t.items())
    row, table = torch.ones(2, dtype=torch.int64), torch.ones(1, 2, dtype=torch.int64)
    none, one = torch.full((1, 2), -1), torch.ones(1, 1, dtype=torch.int64)
    with pytest.raises(OperatorError, match="aclnnAdvanceStepV2: row 0 of sampledTokenIds has no token"):
        call("aclnnAdvanceStepV2", row, none, row, row, row, table, one, one[0], 1, 1, 4)
    with pytest.raises(OperatorError, match="aclnnAdvanceStepV2: acceptedNum has 9223372036854775807 at 0"):
        call("aclnnAdvanceStepV2", row, none + 2, row, row, row, table, one, one[0] * (2**63 - 1), 1, 1, 4)


def test_bad_input() -> None:
    row, table, sampled = (
        torch.ones(3, dtype=torch.int64),
        torch.ones(3, 2, dtype=torch.int64),
        torch.ones(2, 1, dtype=torch.int64),
    )
    good = [row, sampled, row, row, row, table, 3, 2, 4]
    names = ("inputTokens", "sampledTokenIds", "inputPositions", "seqLens", "slotMapping", "blockTables")
    for at, name in enumerate(names):
        for bad, text in ((None, "null"), (good[at].float(), "float32"), (good[at][:1], "int64")):  # type: ignore[union-attr]
            with pytest.raises(OperatorError, match=f"aclnnAdvanceStep: {name} is {text}"):
                call("aclnnAdvanceStep", *good[:at], bad, *good[at + 1 :])
    for at, bad, text in (
        (6, -1, "numQueries is 2, numSeqs -1"),
        (7, 4, "numQueries is 4, numSeqs 3"),
        (8, 0, "blockSize is 0"),
    ):
        with pytest.raises(OperatorError, match=f"aclnnAdvanceStep: {text}"):
            call("aclnnAdvanceStep", *good[:at], bad, *good[at + 1 :])
    good = [row, table, row, row, row, table, torch.ones(3, 0, dtype=torch.int64), row, 3, 3, 4]
    for at, name in ((6, "specToken"), (7, "acceptedNum")):
        with pytest.raises(OperatorError, match=f"aclnnAdvanceStepV2: {name} is null"):
            call("aclnnAdvanceStepV2", *good[:at], None, *good[at + 1 :])
    with pytest.raises(OperatorError, match="aclnnAdvanceStepV2: numQueries is 2, wanted numSeqs 3"):
        call("aclnnAdvanceStepV2", *good[:9], 2, 4)
