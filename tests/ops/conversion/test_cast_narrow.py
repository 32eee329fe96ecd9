# SPDX-License-Identifier: Apache-2.0
"""Floats of a byte: every code, and every place where rounding changes its mind, against float64."""

from __future__ import annotations

import math

import pytest
import torch
from aclnn import HIFLOAT8, OperatorError, Typed, call
from compare import layouts, make
from narrow import CODES, E1M2, E2M1, decode, encode, hif8_value, neighbours, pack4, unpack4

TORCH = (torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e8m0fnu)
WIDE = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def values_of(dtype: torch.dtype) -> torch.Tensor:
    return CODES.view(dtype).double()


@pytest.mark.parametrize("dtype", TORCH, ids=str)
@pytest.mark.parametrize("to", WIDE, ids=str)
def test_every_code(dtype: torch.dtype, to: torch.dtype) -> None:
    out = torch.empty(256, dtype=to)
    call("aclnnCast", CODES.view(dtype), to, out)
    torch.testing.assert_close(out, CODES.view(dtype).to(to), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", TORCH, ids=str)
@pytest.mark.parametrize("source", (torch.float32, torch.bfloat16, torch.float16), ids=str)
def test_rounding(dtype: torch.dtype, source: torch.dtype) -> None:
    """Midpoints and the floats next to them; all values of 16 bits. PyTorch rounds to nearest even too."""
    x = (
        neighbours(values_of(dtype))
        if source == torch.float32
        else torch.arange(-(2**15), 2**15).to(torch.int16).view(source)
    )
    out = torch.empty(x.shape, dtype=dtype)
    call("aclnnCast", x, dtype, out)
    # PyTorch before 2.13 makes NaN of what is too large for e4m3fn.
    clamped = x.float().clamp(-448, 448) if dtype == torch.float8_e4m3fn else x.float()
    want = clamped.to(dtype)
    nan = out.float().isnan()
    assert torch.equal(nan, want.float().isnan())
    assert torch.equal(out.view(torch.uint8)[~nan], want.view(torch.uint8)[~nan])


def test_rounding_agrees_with_float64() -> None:
    """PyTorch's casts are no definition: the nearest of all values, and of two the even one."""
    for dtype in TORCH[:2]:
        table = values_of(dtype)
        finite = table[table.isfinite()].unique()
        x = neighbours(table)
        x = x[x.isfinite() & (x.abs() <= finite.max().float())]
        distance = (x.double()[:, None] - finite[None, :]).abs()
        out = torch.empty(x.shape, dtype=dtype)
        call("aclnnCast", x, dtype, out)
        assert torch.equal((x.double() - out.double()).abs(), distance.amin(1))
        tie = (distance == distance.amin(1, keepdim=True)).sum(1) == 2
        assert (out.view(torch.uint8)[tie] & 1 == 0).all() and tie.any()


def test_hifloat8() -> None:
    """By the format's own definition, which is written down here a second time, in floats."""
    table = torch.tensor([hif8_value(c) for c in range(256)], dtype=torch.float64)
    out = torch.empty(256)
    call("aclnnCast", Typed(CODES, HIFLOAT8), torch.float32, out)
    assert torch.equal(out.double().nan_to_num(7e77), table.nan_to_num(7e77))
    assert table[0x6F] == math.inf and table[0xEF] == -math.inf and table[table.isfinite()].max() == 2**15
    x = neighbours(table)
    x = x[x.isfinite()]
    codes = torch.full(x.shape, 99, dtype=torch.uint8)
    call("aclnnCast", x, 34, Typed(codes, HIFLOAT8))
    finite = torch.cat([table[table.isfinite()].unique(), torch.tensor([2.0**15 * 1.5, -(2.0**15) * 1.5])])
    distance = (x.double()[:, None] - finite[None, :]).abs()
    near = distance == distance.amin(1, keepdim=True)
    away = torch.where(near, finite.abs()[None, :], -1.0).amax(1) * x.double().sign()
    away = torch.where(away.abs() > 2**15, away.sign() * math.inf, away)
    assert torch.equal(table[codes.long()], away)
    assert not (codes == 0x80).any()  # -0 would be NaN
    call("aclnnCast", torch.tensor([math.nan, math.inf, -math.inf]), 34, Typed(codes[:3], HIFLOAT8))
    assert codes[:3].tolist() == [0x80, 0x6F, 0xEF]


@pytest.mark.parametrize("dtype", TORCH, ids=str)
def test_layouts_and_moves(dtype: torch.dtype) -> None:
    """Strides of either side, and operators that move elements without looking at them."""
    x = make((33, 70), torch.float32).to(dtype)
    for _, view in layouts(x):
        out = torch.empty(view.shape)
        call("aclnnCast", view, torch.float32, out)
        assert torch.equal(out, x.float())
        back = torch.empty(view.shape, dtype=dtype)
        call("aclnnInplaceCopy", back, view)
        assert torch.equal(back.view(torch.uint8), x.view(torch.uint8))
    joined = torch.empty(66, 70, dtype=dtype)
    call("aclnnCat", [x, x], 0, joined)
    assert torch.equal(joined.float(), torch.cat([x, x]).float())
    rows = torch.tensor([3, 0, 32, 3])
    taken = torch.empty(4, 70, dtype=dtype)
    call("aclnnIndexSelect", x, 0, rows, taken)
    assert torch.equal(taken.float(), x[rows].float())


def test_ints_and_bools() -> None:
    x = torch.tensor([-3, 0, 7, 100], dtype=torch.int32)  # 100 is between 96 and 104: 96 is even
    out = torch.empty(4, dtype=torch.float8_e4m3fn)
    call("aclnnCast", x, torch.float8_e4m3fn, out)
    assert out.float().tolist() == [-3, 0, 7, 96]
    back = torch.empty(4, dtype=torch.bool)
    call("aclnnCast", out, torch.bool, back)
    assert back.tolist() == [True, False, True, True]


@pytest.mark.parametrize("dtype", [E2M1, E1M2])
@pytest.mark.parametrize("source", (torch.float32, torch.bfloat16, torch.int8), ids=str)
def test_fp4(dtype: int, source: torch.dtype) -> None:
    """Two in a byte; to nearest even, clipped."""
    x = (torch.arange(-1024, 1024) / 64).view(2, 16, 64).to(source)
    for _, view in layouts(x):
        packed = torch.full((2, 16, 32), 99, dtype=torch.uint8)
        call("aclnnCast", view, dtype, Typed(packed, dtype))
        assert torch.equal(packed, pack4(encode(x.double(), dtype)))
        back = torch.empty(x.shape, dtype=source)
        call("aclnnCast", Typed(packed, dtype), source, back)
        assert torch.equal(back, decode(unpack4(packed), dtype).to(source))
    gaps = torch.zeros(8, 8, dtype=torch.uint8).t()
    with pytest.raises(OperatorError, match="packed along its last dimension"):
        call("aclnnCast", torch.zeros(16, 8), dtype, Typed(gaps, dtype))


def test_products_are_refused() -> None:
    x = torch.zeros(4, 4).to(torch.float8_e4m3fn)
    with pytest.raises(OperatorError, match="float8_e4m3fn"):
        call("aclnnMatmul", x, x, torch.empty(4, 4, dtype=torch.float8_e4m3fn), 0)
