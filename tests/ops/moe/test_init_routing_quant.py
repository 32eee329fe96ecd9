# SPDX-License-Identifier: Apache-2.0
"""Tokens expanded to their experts as int8: the rows are those of the unquantised operator, quantised in float32."""

from __future__ import annotations

import pytest
import torch
from aclnn import IntArray, OperatorError, call
from compare import layouts, make
from quant_cases import FLOATS, INT8, to_range

TOKENS, CHOICES, EXPERTS, HIDDEN, CAPACITY = 13, 3, 5, 40, 6


def choices() -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    return torch.stack([torch.randperm(EXPERTS, generator=g)[:CHOICES] for _ in range(TOKENS)]).int()


def rows_of(expert: torch.Tensor, pad: bool, first: int = 0, last: int = EXPERTS) -> list[tuple[int, int]]:
    """(token, expert) of every row, -1 for none."""
    flat = expert.flatten().tolist()
    rows: list[tuple[int, int]] = []
    for e in range(first, last):
        mine = [(i // CHOICES, e) for i, x in enumerate(flat) if x == e]
        rows += (mine + [(-1, e)] * CAPACITY)[:CAPACITY] if pad else mine
    return rows + [(-1, -1)] * (0 if pad else TOKENS * CHOICES - len(rows))


def expanded(
    x: torch.Tensor, rows: list[tuple[int, int]], smooth: torch.Tensor | None, first: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    y, scales = torch.zeros(len(rows), HIDDEN, dtype=torch.int8), torch.zeros(len(rows))
    for p, (token, e) in enumerate(rows):
        if token < 0:
            continue
        row = x[token].float()
        if smooth is not None:
            row = row * smooth[e - first if smooth.shape[0] > 1 else 0].float()
        scales[p] = row.abs().max() / 127
        y[p] = to_range(row / scales[p], INT8).to(torch.int8)
    return y, scales


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("pad", [False, True])
@pytest.mark.parametrize("version", [2, 3])
def test_dynamic(dtype: torch.dtype, pad: bool, version: int) -> None:
    expert = choices()
    n = EXPERTS * CAPACITY if pad else TOKENS * CHOICES
    for smooth in (
        None,
        make((1, HIDDEN), torch.float32, 1, 0.5, 2),
        make((EXPERTS, HIDDEN), torch.float32, 2, 0.5, 2),
    ):
        for _, x in layouts(make((TOKENS, HIDDEN), dtype)):
            want, want_scales = expanded(x, rows_of(expert, pad), smooth)
            y = torch.full((EXPERTS, CAPACITY, HIDDEN) if pad else (n, HIDDEN), 9, dtype=torch.int8)
            place, counts = (
                torch.zeros(TOKENS * CHOICES, dtype=torch.int32),
                torch.zeros(EXPERTS, dtype=torch.int64),
            )
            scales = torch.full((n,), 9.0)
            if version == 2:
                call("aclnnMoeInitRoutingQuantV2", x, expert, smooth, None, 0, CAPACITY, EXPERTS, int(pad), 2, False, 1, y, place,
                     counts.int(), None, scales)  # fmt: skip
            else:
                call("aclnnMoeInitRoutingV3", x, expert, smooth, None, 0, CAPACITY, EXPERTS, int(pad), 1, True, 1, None, 0, y,
                     place, counts, scales)  # fmt: skip
                assert torch.equal(counts, torch.bincount(expert.flatten().long(), minlength=EXPERTS))
            assert torch.equal(y.view(n, HIDDEN), want)
            assert torch.equal(scales, want_scales)
            plain, again = torch.zeros(y.shape, dtype=dtype), torch.zeros_like(place)
            call(
                "aclnnMoeInitRoutingV3",
                x,
                expert,
                None,
                None,
                0,
                CAPACITY,
                EXPERTS,
                int(pad),
                1,
                True,
                -1,
                None,
                0,
                plain,
                again,
                counts,
                None,
            )
            assert torch.equal(place, again)


def test_range_of_experts() -> None:
    """Smooth scales are those of the experts that count."""
    expert, x, smooth = (
        choices(),
        make((TOKENS, HIDDEN), torch.bfloat16),
        make((2, HIDDEN), torch.float32, 1, 0.5, 2),
    )
    want, want_scales = expanded(x, rows_of(expert, False, 1, 3), smooth, 1)
    y, scales = torch.full((TOKENS * CHOICES, HIDDEN), 9, dtype=torch.int8), torch.zeros(TOKENS * CHOICES)
    place, counts = torch.zeros(TOKENS * CHOICES, dtype=torch.int32), torch.zeros(2, dtype=torch.int64)
    call(
        "aclnnMoeInitRoutingV3",
        x,
        expert,
        smooth,
        None,
        0,
        0,
        EXPERTS,
        0,
        1,
        True,
        1,
        IntArray([1, 3]),
        0,
        y,
        place,
        counts,
        scales,
    )
    assert torch.equal(y, want) and torch.equal(scales, want_scales)


@pytest.mark.parametrize("version", [2, 3])
def test_static(version: int) -> None:
    expert, x = choices(), make((TOKENS, HIDDEN), torch.float16)
    scale, offset = torch.full((1,), 20.0), torch.full((1,), -7.0)
    y, place = (
        torch.zeros(TOKENS * CHOICES, HIDDEN, dtype=torch.int8),
        torch.zeros(TOKENS * CHOICES, dtype=torch.int32),
    )
    counts = torch.zeros(EXPERTS, dtype=torch.int64)
    if version == 2:
        call(
            "aclnnMoeInitRoutingQuantV2",
            x,
            expert,
            scale,
            offset,
            0,
            0,
            EXPERTS,
            0,
            0,
            False,
            0,
            y,
            place,
            None,
            None,
            None,
        )
    else:
        call(
            "aclnnMoeInitRoutingV3",
            x,
            expert,
            scale,
            offset,
            0,
            0,
            EXPERTS,
            0,
            1,
            True,
            0,
            None,
            0,
            y,
            place,
            counts,
            None,
        )
    tokens = [token for token, _ in rows_of(expert, False)]
    assert torch.equal(y, to_range(x[tokens].float() * 20 - 7, INT8).to(torch.int8))


def test_refusals() -> None:
    expert, x = choices(), make((TOKENS, HIDDEN), torch.float16)
    y, place = (
        torch.zeros(TOKENS * CHOICES, HIDDEN, dtype=torch.int8),
        torch.zeros(TOKENS * CHOICES, dtype=torch.int32),
    )
    scales, one = torch.zeros(TOKENS * CHOICES), torch.ones(1)

    def refused(text: str, **change: object) -> None:
        given = {"scale": None, "offset": None, "mode": 1, "y": y, "scales": scales} | change
        with pytest.raises(OperatorError, match=text):
            call("aclnnMoeInitRoutingQuantV2", x, expert, given["scale"], given["offset"], 0, 0, EXPERTS, 0, 0, False, given["mode"],
                 given["y"], place, None, None, given["scales"])  # fmt: skip

    refused("quantMode is 2", mode=2)
    refused("expandedX is float16", y=y.half())
    refused("scaleOptional is null", mode=0)
    refused("scaleOptional is float32\\[4,40\\]", scale=torch.ones(4, HIDDEN))
    refused("output of scales is float32\\[3\\]", scales=torch.zeros(3))
    refused("offsetOptional is float32\\[2\\]", mode=0, scale=one, offset=torch.ones(2))
