# SPDX-License-Identifier: Apache-2.0
"""Tokens expanded to their experts in formats of a byte or less: the rows of the operator without a format, quantised in float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from aclnn import IntArray, OperatorError, Typed, call
from compare import layouts, make
from narrow import CODES, E2M1, E4M3, E5M2, decode, hif8_value, mx_quantise, pack4, unpack4
from quant_cases import FLOATS

TOKENS, CHOICES, EXPERTS, FIRST, LAST = 11, 3, 6, 1, 5
HIF8, E8M0, NAME = 34, 37, "aclnnMoeInitRoutingV3"
TYPE = {E5M2: torch.float8_e5m2, E4M3: torch.float8_e4m3fn}
LARGEST = {E5M2: 57344.0, E4M3: 448.0, E2M1: 6.0}
HIF8_VALUES = torch.tensor([hif8_value(c) for c in CODES.tolist()], dtype=torch.float64)


def routed(x: torch.Tensor, expert: torch.Tensor) -> torch.Tensor:
    """Rows in the order of the experts that count, then zeros."""
    flat = expert.flatten()
    order = [i for e in range(FIRST, LAST) for i in (flat == e).nonzero().flatten().tolist()]
    rows = torch.zeros(TOKENS * CHOICES, x.shape[1], dtype=x.dtype)
    rows[: len(order)] = x[torch.tensor(order) // CHOICES]
    return rows


def case(hidden: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(hidden)
    x = make((TOKENS, hidden), dtype, 3) * torch.logspace(-2, 2, TOKENS).view(-1, 1).to(dtype)
    x[2] = 0
    return x, torch.randint(0, EXPERTS, (TOKENS, CHOICES), generator=g, dtype=torch.int32)


def run(x: Any, expert: torch.Tensor, mode: int, y: Any, scale: Any, scales: Any) -> None:
    place, counts = (
        torch.zeros(TOKENS * CHOICES, dtype=torch.int32),
        torch.zeros(LAST - FIRST, dtype=torch.int64),
    )
    call(
        NAME,
        x,
        expert,
        scale,
        None,
        0,
        0,
        EXPERTS,
        0,
        1,
        True,
        mode,
        IntArray([FIRST, LAST]),
        0,
        y,
        place,
        counts,
        scales,
    )
    wanted = torch.bincount(expert.flatten().long(), minlength=EXPERTS)[FIRST:LAST]
    assert torch.equal(counts, wanted)


@pytest.mark.parametrize("hidden", [32, 40, 64, 100, 7])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize(("mode", "kind"), [(2, E5M2), (3, E4M3), (16, E5M2), (17, E4M3)])
def test_mx8(mode: int, kind: int, dtype: torch.dtype, hidden: int) -> None:
    given, expert = case(hidden, dtype)
    pairs = 2 * -(-hidden // 64)
    for _, x in layouts(given):
        y = torch.zeros(TOKENS * CHOICES, hidden).to(TYPE[kind])
        scales = torch.zeros(TOKENS * CHOICES, pairs, dtype=torch.uint8)
        run(x, expert, mode, y, None, Typed(scales, E8M0))
        rows = routed(x, expert).float()
        if mode < 16:
            codes, wanted = mx_quantise(rows, kind, by_value=LARGEST[kind])
            assert torch.equal(scales, wanted.flatten(1))
            assert torch.equal(y.view(torch.uint8), codes)
            continue
        _, plain = mx_quantise(rows, kind, by_value=LARGEST[kind])
        least = math.ceil(math.log2(1e-4 / LARGEST[kind])) + 127
        blocks = -(-hidden // 32)
        assert torch.equal(scales[:, :blocks], plain.flatten(1)[:, :blocks].clamp(min=least))
        by = 2.0 ** (scales.double() - 127).repeat_interleave(32, 1)[:, :hidden]
        assert (
            (decode(y.view(torch.uint8), kind) * by - rows.double()).abs() <= rows.double().abs() / 8 + 1e-6
        ).all()


@pytest.mark.parametrize("hidden", [32, 40, 64, 100])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_mx4(dtype: torch.dtype, hidden: int) -> None:
    x, expert = case(hidden, dtype)
    pairs = -(-hidden // 64)
    y, scales = (
        torch.zeros(TOKENS * CHOICES, hidden // 2, dtype=torch.uint8),
        torch.zeros(TOKENS * CHOICES, pairs, 2),
    )
    scales = scales.to(torch.uint8)
    run(x, expert, 9, Typed(y, E2M1), None, Typed(scales, E8M0))
    codes, wanted = mx_quantise(routed(x, expert).float(), E2M1)
    assert torch.equal(scales, wanted)
    assert torch.equal(unpack4(y), codes)


@pytest.mark.parametrize("hidden", [40, 128, 200, 300])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize(
    ("mode", "kind"), [(11, E5M2), (12, E4M3), (4, E5M2), (5, E4M3), (14, E5M2), (15, E4M3)]
)
def test_groups(mode: int, kind: int, dtype: torch.dtype, hidden: int) -> None:
    """A float32 for each 128 elements: what the largest is divided by, or the power of two above that."""
    x, expert = case(hidden, dtype)
    x[3] *= 1e-6
    groups = -(-hidden // 128)
    pairs = 2 * -(-hidden // 256) if mode > 10 and mode < 13 else groups
    y = torch.zeros(TOKENS * CHOICES, hidden).to(TYPE[kind])
    scales = torch.full((TOKENS * CHOICES, pairs), 9.0)
    run(x, expert, mode, y, None, scales)
    rows = torch.nn.functional.pad(routed(x, expert).float(), (0, groups * 128 - hidden)).unflatten(
        1, (-1, 128)
    )
    largest = rows.abs().amax(2)
    if mode in (14, 15):
        largest = largest.clamp(min=1e-4)
    wanted = largest / LARGEST[kind]
    if mode not in (11, 12):
        mantissa, exponent = torch.frexp(wanted.double())
        up = 2.0 ** (exponent - (mantissa == 0.5).long()).double()
        wanted = torch.where(wanted == 0, 0.0, up).float()
    assert torch.equal(scales[:, :groups], wanted)
    assert (scales[:, groups:] == 0).all()
    quotient = rows / wanted[..., None]
    quotient = torch.where(wanted[..., None] == 0, 0.0, quotient)
    codes = quotient.clamp(-LARGEST[kind], LARGEST[kind]).to(TYPE[kind]).flatten(1)[:, :hidden]
    assert torch.equal(y.view(torch.uint8) & 127, codes.contiguous().view(torch.uint8) & 127)
    assert torch.equal(y.float(), codes.float())


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("mode", [6, 7, 8])
def test_hifloat8(mode: int, dtype: torch.dtype) -> None:
    """The nearest value there is, of the row, times a factor or over its own scale."""
    x, expert = case(40, dtype)
    y = torch.zeros(TOKENS * CHOICES, 40, dtype=torch.uint8)
    factor, scales = torch.tensor([3.5]), torch.full((TOKENS * CHOICES,), 9.0)
    run(x, expert, mode, Typed(y, HIF8), factor if mode == 7 else None, scales if mode == 8 else None)
    rows = routed(x, expert).double()
    if mode == 7:
        rows = rows * 3.5
    if mode == 8:
        own = (rows.float().abs().amax(1) / 32768).float()
        assert torch.equal(scales, own)
        rows = torch.where(own.view(-1, 1) == 0, 0.0, rows / own.double().view(-1, 1))
    got = HIF8_VALUES[y.long()]
    finite = HIF8_VALUES[HIF8_VALUES.isfinite()]
    nearest = (rows.unsqueeze(-1) - finite).abs().amin(-1)
    assert ((got - rows).abs() <= nearest * (1 + 1e-6) + 1e-12).all()


@pytest.mark.parametrize("with_scale", [False, True])
@pytest.mark.parametrize("kind", [E4M3, E5M2, HIF8, E2M1])
def test_formats_are_carried(kind: int, with_scale: bool) -> None:
    """With quantMode -1: tokens and their rows of MX scales go where they belong, bit for bit."""
    _, expert = case(40, torch.float32)
    g = torch.Generator().manual_seed(kind)
    width = 20 if kind == E2M1 else 40
    x = torch.randint(0, 256, (TOKENS, width), generator=g, dtype=torch.uint8)
    scale = torch.randint(1, 255, (TOKENS, 1, 2), generator=g, dtype=torch.uint8)
    y = torch.full((TOKENS * CHOICES, width), 9, dtype=torch.uint8)
    scales = torch.full((TOKENS * CHOICES, 1, 2), 9, dtype=torch.uint8)
    given = (Typed(scale, E8M0), Typed(scales, E8M0)) if with_scale else (None, None)
    run(Typed(x, kind), expert, -1, Typed(y, kind), *given)
    assert torch.equal(y, routed(x, expert))
    if with_scale:
        assert torch.equal(scales.flatten(1), routed(scale.flatten(1), expert))


def test_refusals() -> None:
    x, expert = case(40, torch.float32)
    n = TOKENS * CHOICES
    y, scales = torch.zeros(n, 40).to(torch.float8_e4m3fn), Typed(torch.zeros(n, 2, dtype=torch.uint8), E8M0)

    def refused(text: str, **change: Any) -> None:
        given = {"x": x, "mode": 3, "y": y, "scale": None, "scales": scales, "pad": 0} | change
        place, counts = torch.zeros(n, dtype=torch.int32), torch.zeros(EXPERTS, dtype=torch.int64)
        with pytest.raises(OperatorError, match=f"{NAME}: {text}"):
            call(NAME, given["x"], expert, given["scale"], None, 0, 6, EXPERTS, given["pad"], 1, True, given["mode"], None, 0,
                 given["y"], place, counts, given["scales"])  # fmt: skip

    refused("quantMode is 10, wanted", mode=10)
    refused("quantMode is 13, wanted", mode=13)
    refused("quantMode is 18", mode=18)
    refused("dropPadMode is 1, wanted 0 with quantMode 3", pad=1)
    refused("expandedX is float32.* as float8_e4m3fn", y=torch.zeros(n, 40))
    refused("expandedX is float8_e4m3fn.* as float8_e5m2", mode=2)
    refused("scaleOptional is float32.1., wanted none with quantMode 3", scale=torch.ones(1))
    refused("expandedScaleOut is null, wanted 2 float8_e8m0 for each of 33 rows", scales=None)
    refused("expandedScaleOut is float32", scales=torch.zeros(n, 2))
    refused("x is int8.*, wanted float", x=x.to(torch.int8))
    refused(
        "scaleOptional is null, wanted one number with quantMode 7",
        mode=7,
        y=Typed(y.view(torch.uint8), HIF8),
    )
    odd = torch.ones(TOKENS, 40, dtype=torch.float8_e4m3fn)
    refused(
        "expandedScaleOut is float8_e8m0.33,2., wanted 66 float8_e8m0 values|scaleOptional is float8_e8m0",
        mode=-1, x=odd, scale=Typed(torch.zeros(7, 2, dtype=torch.uint8), E8M0),
    )  # fmt: skip


def test_pairs_are_packed() -> None:
    assert torch.equal(unpack4(pack4(CODES[:16])), CODES[:16])
