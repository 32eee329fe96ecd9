# SPDX-License-Identifier: Apache-2.0
"""Quantisation to MX formats: codes and scales are those of the definition in float64, bit by bit."""

from __future__ import annotations

import math

import pytest
import torch
from aclnn import OperatorError, Typed, call
from compare import layouts, make
from narrow import E1M2, E2M1, E4M3, E5M2, encode, mx_quantise, mx_scale, pack4
from quant_cases import FLOATS

FORMATS = (E4M3, E5M2, E2M1, E1M2)
FP4 = (E2M1, E1M2)
SHAPES = ((1, 2), (3, 32), (5, 100), (2, 64, 6), (33, 66), (2, 3, 130, 4), (70, 1026), (0, 4), (4, 0, 2))


def outputs(shape: tuple[int, ...], dtype: int, axis: int, block: int = 32) -> tuple[Typed, torch.Tensor]:
    kept = list(shape)
    blocks = -(-shape[axis] // block)
    kept[axis] = -(-blocks // 2)
    last = shape[-1] // 2 if dtype in FP4 else shape[-1]
    y = Typed(torch.full((*shape[:-1], last), 99, dtype=torch.uint8), dtype)
    return y, torch.full((*kept, 2), 99, dtype=torch.uint8).view(torch.float8_e8m0fnu)


def check(y: Typed, scale: torch.Tensor, want: tuple[torch.Tensor, torch.Tensor]) -> None:
    codes, scales = want
    assert torch.equal(scale.view(torch.uint8), scales)
    assert torch.equal(y.bytes, pack4(codes) if y.dtype in FP4 else codes)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("source", FLOATS, ids=str)
def test_axes(dtype: int, source: torch.dtype) -> None:
    for shape in SHAPES:
        for axis in range(-1, len(shape) - 1):
            spread = make(shape, torch.float64, 1, -12, 12).exp2() * make(shape, torch.float64, 2).sign()
            for _, x in layouts(spread.to(source)):
                y, scale = outputs(shape, dtype, axis)
                call("aclnnDynamicMxQuant", x, axis, "rint", dtype, 32, 0, y, scale)
                check(y, scale, mx_quantise(x, dtype, axis))


@pytest.mark.parametrize("dtype", FP4)
@pytest.mark.parametrize("rounding", ["rint", "floor", "round"])
def test_roundings(dtype: int, rounding: str) -> None:
    """Eighths up to 8 hold every midpoint of fp4 and what lies between."""
    x = (torch.arange(-64, 64) / 8).repeat(2, 1)
    y, scale = outputs((2, 128), dtype, -1)
    call("aclnnDynamicMxQuant", x, -1, rounding, dtype, 64, 0, *outputs((2, 128), dtype, -1, 64))
    call("aclnnDynamicMxQuant", x, -1, rounding, dtype, 32, 0, y, scale)
    check(y, scale, mx_quantise(x, dtype, rounding=rounding))


@pytest.mark.parametrize("dtype", (E4M3, E5M2, E2M1))
@pytest.mark.parametrize("axis", [-1, 0])
def test_scales_by_value(dtype: int, axis: int) -> None:
    """Nothing is clipped; just above the largest value times a power of two the scale doubles."""
    four = dtype == E2M1
    largest = {E4M3: 448.0, E5M2: 57344.0, E2M1: 6.0}[dtype]
    tops = torch.tensor([largest * 2.0**e for e in range(-20, 20)], dtype=torch.float32)
    tops = torch.cat([tops, tops.nextafter(torch.tensor(math.inf)), tops.nextafter(torch.tensor(0.0))])
    x = torch.linspace(-1, 1, 32)[:, None] * tops[None, :]
    x[5] = tops
    if axis == -1:
        x = x.t().contiguous()
    y, scale = outputs(tuple(x.shape), dtype, axis)
    call("aclnnDynamicMxQuantV2", x, axis, "rint", dtype, 32, 2 if four else 1, 0.0, y, scale)
    check(y, scale, mx_quantise(x, dtype, axis, by_value=largest))
    if four:
        call("aclnnDynamicMxQuantV2", x, axis, "rint", dtype, 32, 2, 7.5, y, scale)
        check(y, scale, mx_quantise(x, dtype, axis, by_value=7.5))


def test_low_bound() -> None:
    x = torch.full((2, 32), 2.0**-30)
    y, scale = outputs((2, 32), E4M3, -1)
    call("aclnnDynamicMxQuantV3", x, -1, "rint", E4M3, 32, 1, 0.0, 448.0, y, scale)
    assert scale.view(torch.uint8).tolist() == [[[127, 0]]] * 2
    assert y.bytes.eq(encode(x, E4M3)).all()


@pytest.mark.parametrize("dtype", FORMATS)
def test_special_blocks(dtype: int) -> None:
    """Zeros, NaN, infinity, the smallest and the largest floats."""
    x = torch.zeros(7, 32)
    x[1, 3], x[2, 3], x[3] = math.nan, math.inf, 1e-45
    x[4], x[5], x[6] = torch.finfo(torch.float32).max, torch.finfo(torch.float32).smallest_normal, -0.0
    for axis in (-1, 0):
        given = x if axis == -1 else x.t().contiguous()
        y, scale = outputs(tuple(given.shape), dtype, axis)
        if dtype in FP4 and axis == 0:
            given = torch.cat([given, given[:, :1]], 1)
            y, scale = outputs(tuple(given.shape), dtype, axis)
        call("aclnnDynamicMxQuant", given, axis, "rint", dtype, 32, 0, y, scale)
        codes, scales = mx_quantise(given, dtype, axis)
        assert torch.equal(scale.view(torch.uint8), scales)
        got = y.bytes if dtype not in FP4 else torch.stack([y.bytes & 15, y.bytes >> 4], -1).flatten(-2)
        nan = given.isnan() | (
            scales.movedim(-1, 0)[0].expand_as(given) == 255 if axis == 0 else scales[:, :, 0] == 255
        )
        assert torch.equal(got[~nan], codes[~nan])
        mark = {E4M3: 0x7F, E5M2: 0x7F}.get(dtype)
        assert (got[nan] & 0x7F == mark).all() if mark else (got[nan] & 7 == 0).all()


@pytest.mark.parametrize("dtype", FORMATS)
def test_both_axes(dtype: int) -> None:
    for shape in ((64, 96), (3, 70, 40), (2, 33, 2)):
        x = make(shape, torch.bfloat16)
        y1, scale1 = outputs(shape, dtype, -1)
        y2, scale2 = outputs(shape, dtype, -2)
        call("aclnnDynamicMxQuantWithDualAxis", x, "rint", dtype, 0, y1, scale1, y2, scale2)
        check(y1, scale1, mx_quantise(x, dtype, -1))
        check(y2, scale2, mx_quantise(x, dtype, -2))
        call("aclnnDynamicMxQuantWithDualAxisV2", x, "rint", dtype, 0, 0.0, y1, scale1, y2, scale2)
        check(y1, scale1, mx_quantise(x, dtype, -1))


@pytest.mark.parametrize("dtype", FORMATS)
def test_squares(dtype: int) -> None:
    """A square's elements are quantised as one block would be that has all of them; both axes have its scale."""
    for shape in ((64, 96), (3, 70, 300), (2, 33, 2), (0, 4)):
        x = make(shape, torch.bfloat16)
        y, scale1 = outputs(shape, dtype, -1)
        _, scale2 = outputs(shape, dtype, -2)
        call("aclnnDynamicBlockMxQuant", x, "rint", dtype, 0, 0.0, y, scale1, scale2)
        down, across = -(-shape[-2] // 32), -(-shape[-1] // 32)
        pad = (0, across * 32 - shape[-1], 0, down * 32 - shape[-2])
        squares = (
            torch.nn.functional.pad(x.double(), pad).unflatten(-1, (across, 32)).unflatten(-3, (down, 32))
        )
        largest = squares.abs().amax((-3, -1))
        code = mx_scale(largest, dtype)
        full = code.repeat_interleave(32, -2)[..., : shape[-2], :].repeat_interleave(32, -1)[..., : shape[-1]]
        codes = encode(x.double() * 2.0 ** (127 - full.double()), dtype)
        assert torch.equal(y.bytes, pack4(codes) if dtype in FP4 else codes)
        by_row = scale1.view(torch.uint8).flatten(-2)
        assert torch.equal(by_row[..., :across], code.repeat_interleave(32, -2)[..., : shape[-2], :])
        assert by_row[..., across:].eq(0).all()
        by_column = scale2.view(torch.uint8).movedim(-1, -2).flatten(-3, -2)
        assert torch.equal(by_column[..., :down, :], code.repeat_interleave(32, -1)[..., : shape[-1]])
        assert by_column[..., down:, :].eq(0).all()


def test_bad_input() -> None:
    x = make((4, 64), torch.float32)
    y, scale = outputs((4, 64), E4M3, -1)

    def refused(match: str, *args: object) -> None:
        with pytest.raises(OperatorError, match=match):
            call("aclnnDynamicMxQuantV3", *args)

    refused("axis is 2", x, 2, "rint", E4M3, 32, 0, 0.0, 0.0, y, scale)
    refused("roundMode is 'floor'", x, -1, "floor", E4M3, 32, 0, 0.0, 0.0, y, scale)
    refused("dstType is 2", x, -1, "rint", 2, 32, 0, 0.0, 0.0, y, scale)
    refused("blocksize is 33", x, -1, "rint", E4M3, 33, 0, 0.0, 0.0, y, scale)
    refused("scaleAlg is 2", x, -1, "rint", E4M3, 32, 2, 0.0, 0.0, y, scale)
    refused("dstTypeMax is 6", x, -1, "rint", E4M3, 32, 0, 6.0, 0.0, y, scale)
    refused("maxLowBound is 1", x, -1, "rint", E4M3, 32, 0, 0.0, 1.0, y, scale)
    refused("mxscaleOut is", x, -1, "rint", E4M3, 64, 0, 0.0, 0.0, y, scale.view(4, 2, 1))
    refused("yOut is", x, -1, "rint", E5M2, 32, 0, 0.0, 0.0, y, scale)
    refused("x is int32", x.int(), -1, "rint", E4M3, 32, 0, 0.0, 0.0, y, scale)
    odd = Typed(torch.zeros(4, 64, dtype=torch.uint8), E2M1)
    refused("yOut is", x, -1, "rint", E2M1, 32, 0, 0.0, 0.0, odd, scale)
