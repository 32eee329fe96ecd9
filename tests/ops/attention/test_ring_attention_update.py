# SPDX-License-Identifier: Apache-2.0
"""Two partial results of attention as one: aclnnRingAttentionUpdateV2 against attention over all keys in float64."""

from __future__ import annotations

import pytest
import torch
from aclnn import OperatorError, call
from compare import assert_close, layouts, make

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
Parts = tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]


def partial(t: int, n: int, d: int, dtype: torch.dtype) -> Parts:
    """Output [t, n, d], maximum and sum [t, n] over two parts of the keys, and over all of them."""
    scores, values = make((t, n, 20), torch.float64, 1, -6, 6), make((20, d), torch.float64, 2)
    outs, maxima, sums = [], [], []
    for part in (slice(0, 7), slice(7, 20), slice(0, 20)):
        s = scores[..., part]
        maxima.append(s.max(-1)[0].float())
        sums.append((s - maxima[-1][..., None].double()).exp().sum(-1).float())
        outs.append((s.softmax(-1) @ values[part]).to(dtype))
    return outs, maxima, sums


def eight(x: torch.Tensor) -> torch.Tensor:
    return x[..., None].repeat_interleave(8, -1)


def run(
    outs: list, maxima: list, sums: list, lengths: torch.Tensor | None, layout: str, softmax: str
) -> list[torch.Tensor]:
    results = [torch.full_like(t, 7) for t in (outs[0], maxima[0], sums[0])]
    call(
        "aclnnRingAttentionUpdateV2",
        outs[0],
        maxima[0],
        sums[0],
        outs[1],
        maxima[1],
        sums[1],
        lengths,
        layout,
        softmax,
        *results,
    )
    return results


def check(results: list[torch.Tensor], want: list[torch.Tensor], dtype: torch.dtype) -> None:
    # The parts were rounded to dtype before: two units of what they are, which may be larger than their sum.
    assert_close(
        results[0], want[0].double(), 2, 1e-5 if dtype == torch.float32 else 4 * torch.finfo(dtype).eps
    )
    assert torch.equal(results[1], want[1])
    assert_close(results[2], want[2].double(), 4)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_sequence_batch_hidden(dtype: torch.dtype) -> None:
    for s, b, n, d in ((4, 2, 2, 16), (1, 1, 1, 1), (33, 3, 5, 130), (2, 1, 2, 1100), (0, 2, 2, 4)):
        parts = partial(s * b, n, d, dtype)
        outs = [o.reshape(s, b, n * d) for o in parts[0]]
        rest = [
            [eight(x.reshape(s, b, n).permute(1, 2, 0).contiguous()) for x in group] for group in parts[1:]
        ]
        for layout in range(3):
            given = [[list(layouts(t))[layout][1] for t in group[:2]] for group in (outs, *rest)]
            check(run(*given, None, "SBH", ""), [outs[2], rest[0][2], rest[1][2]], dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_packed_sequences(dtype: torch.dtype) -> None:
    n, d, ends = 3, 33, [2, 2, 11, 40]
    outs, maxima, sums = partial(40, n, d, dtype)
    lengths = torch.tensor(ends)
    for softmax in ("TND", "", "SBH"):
        rest = [[eight(x) for x in group] for group in (maxima, sums)]
        if softmax != "TND":  # by sequence, each [N, S, 8]
            bounds = [0, *ends]
            rest = [
                [
                    torch.cat(
                        [t[a:b].transpose(0, 1).reshape(-1) for a, b in zip(bounds, ends, strict=False)]
                    ).view_as(t)
                    for t in group
                ]
                for group in rest
            ]
        for given in (lengths, torch.cat([torch.zeros(1, dtype=lengths.dtype), lengths])):
            check(
                run(outs[:2], *[g[:2] for g in rest], given, "TND", softmax),
                [outs[2], rest[0][2], rest[1][2]],
                dtype,
            )


def test_in_place() -> None:
    parts = partial(12, 2, 8, torch.float32)
    outs, rest = parts[0], [[eight(x) for x in group] for group in parts[1:]]
    a, m, s = outs[0].clone(), rest[0][0].clone(), rest[1][0].clone()
    call("aclnnRingAttentionUpdateV2", a, m, s, outs[1], rest[0][1], rest[1][1], None, "TND", "TND", a, m, s)
    check([a, m, s], [outs[2], rest[0][2], rest[1][2]], torch.float32)


def test_values_that_are_not_finite_stay_in_their_row() -> None:
    parts = partial(4, 2, 8, torch.float32)
    outs, rest = parts[0], [[eight(x) for x in group] for group in parts[1:]]
    outs[0][1, 0, 3] = float("nan")
    rest[0][1][2, 1] = float("nan")
    out, most, _ = run(outs, *rest, None, "TND", "TND")
    assert (
        out.isnan().sum() == 9
        and bool(out[1, 0, 3].isnan())
        and bool(out[2, 1].isnan().all())
        and bool(most[2, 1].isnan().all())
    )


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63), -1, 1, 5])
def test_hostile_lengths(value: int) -> None:
    o, m = torch.ones(4, 2, 8), torch.ones(4, 2, 8)
    with pytest.raises(
        OperatorError, match=r"actualSeqQlenOptional(\[\d\] is -?\d+, wanted 2 to 4| ends at)"
    ):
        run([o, o], [m, m], [m, m], torch.tensor([2, value]), "TND", "")


o, m4, m3 = torch.ones(4, 2, 6), torch.ones(2, 3, 4, 8), torch.ones(4, 2, 8)
GOOD = [o, m4, m4, o, m4, m4, None, "SBH", "", o, m4, m4]
BAD = [
    ('inputLayoutOptional is "BSH"', 7, "BSH"),
    ('inputSoftmaxLayoutOptional is "BNSD"', 8, "BNSD"),
    ("prevSoftmaxMax is float32[4,2,8], wanted float32 [B,N,S,8]", 1, m3),
    ("curAttnOut is float32[4,2,7]", 3, torch.ones(4, 2, 7)),
    ("curAttnOut is bfloat16[4,2,6]", 3, o.bfloat16()),
    ("softmaxSumOut is null", 11, None),
    ("curSoftmaxSum is float64", 5, m4.double()),
]


@pytest.mark.parametrize(("text", "place", "value"), BAD, ids=[b[0] for b in BAD])
def test_bad_input(text: str, place: int, value: object) -> None:
    changed = [*GOOD]
    changed[place] = value
    with pytest.raises(OperatorError) as error:
        call("aclnnRingAttentionUpdateV2", *changed)
    assert text in error.value.text


def test_lengths_are_wanted_by_sequence() -> None:
    with pytest.raises(OperatorError, match="actualSeqQlenOptional is null"):
        run([torch.ones(4, 2, 8)] * 2, [m3, m3], [m3, m3], None, "TND", "")


def test_rows_that_saw_no_key() -> None:
    """Attention gives them zeros, the lowest maximum and the largest sum; nothing added to nothing is the same."""
    parts = partial(4, 2, 8, torch.float32)
    outs, rest = parts[0], [[eight(x) for x in group] for group in parts[1:]]
    largest = torch.finfo(torch.float32).max
    for part, rows in (
        (0, slice(0, 2)),
        (1, slice(1, 3)),
    ):  # token 0: first part, 1: both, 2: second, 3: none
        outs[part][rows], rest[0][part][rows], rest[1][part][rows] = 0, -largest, largest
    out, most, total = run(outs, *rest, None, "TND", "TND")
    assert torch.equal(out[1], torch.zeros(2, 8))
    assert torch.equal(most[1], torch.full((2, 8), -largest)) and torch.equal(
        total[1], torch.full((2, 8), largest)
    )
    for token, part in ((0, 1), (2, 0)):
        assert torch.equal(out[token], outs[part][token])
        assert torch.equal(total[token], rest[1][part][token])
