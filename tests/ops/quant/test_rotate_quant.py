# SPDX-License-Identifier: Apache-2.0
"""Rotation of runs, then quantisation: the codes are those of the rotated values as the result of a product holds them."""

from __future__ import annotations

import math

import pytest
import torch
from aclnn import OperatorError, Typed, call
from compare import layouts, make
from narrow import E2M1, E4M3, E5M2, mx_quantise, pack4
from quant_cases import FLOATS, INT4, INT8, pack, to_range

NAME = "aclnnRotateQuant"
# Shape of x, size of a run.
CASES = (((1, 8), 8), ((5, 24), 8), ((7, 64), 32), ((2, 3, 96), 32), ((65, 128), 128), ((3, 1, 40), 40))


def whole(shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    """Small whole numbers, whose products are exact in every order and type."""
    return make(shape, dtype, seed, -2, 2).round()


def rotated(x: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
    runs = x.double().unflatten(-1, (-1, rotation.shape[-1])).unsqueeze(-2)
    return (runs @ rotation.double()).squeeze(-2).flatten(-2).to(x.dtype)


def rotations(n: int, size: int, dtype: torch.dtype) -> list[torch.Tensor]:
    return [whole((size, size), dtype, 1), whole((n // size, size, size), dtype, 2)]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("limits", [INT8, INT4], ids=["int8", "int4"])
def test_integers(dtype: torch.dtype, limits: tuple[int, int]) -> None:
    for shape, size in CASES:
        for rotation in rotations(shape[-1], size, dtype):
            for _, x in layouts(whole(shape, dtype)):
                for _, by in layouts(rotation):
                    z = rotated(x, by).float()
                    scale = z.abs().amax(-1, keepdim=True) / limits[1]
                    want = to_range(z / scale, limits)
                    wide = torch.full((*shape[:-1], shape[-1] * 2), 99, dtype=torch.int8)
                    y, got = wide[..., ::2], torch.empty(shape[:-1])
                    if limits == INT4:
                        y = torch.full((*shape[:-1], shape[-1] // 8), 99, dtype=torch.int32)
                    call(NAME, x, by, None, -1, "rint", 0, 0.0, False, y, got)
                    assert torch.equal(y, want.to(torch.int8) if limits == INT8 else pack(want))
                    assert torch.equal(got, scale.squeeze(-1))


def mx_outputs(shape: tuple[int, ...], dtype: int, axis: int) -> tuple[Typed, torch.Tensor]:
    kept = list(shape)
    kept[axis] = (shape[axis] + 63) // 64
    last = shape[-1] // 2 if dtype == E2M1 else shape[-1]
    y = Typed(torch.full((*shape[:-1], last), 99, dtype=torch.uint8), dtype)
    return y, torch.full((*kept, 2), 99, dtype=torch.uint8).view(torch.float8_e8m0fnu)


@pytest.mark.parametrize("dtype", [E4M3, E5M2, E2M1])
@pytest.mark.parametrize("source", FLOATS, ids=str)
@pytest.mark.parametrize("alpha", [None, 0.4, 1.0, 0.0])
def test_mx(dtype: int, source: torch.dtype, alpha: float | None) -> None:
    for shape, size in CASES:
        for rotation in rotations(shape[-1], size, source):
            x = whole(shape, source)
            z = rotated(x, rotation)
            if alpha == 0.4:
                for at in range(0, shape[-1], 32):
                    part = z[..., at : at + 32]
                    limit = (part.abs().amax(-1, keepdim=True).float() * alpha).to(source)
                    z[..., at : at + 32] = part.clamp(-limit, limit)
            for axis in range(-len(shape), len(shape)):
                y, scale = mx_outputs(shape, dtype, axis)
                by = None if alpha is None else torch.tensor([alpha])
                call(NAME, x, rotation, by, axis, "rint", 0, 0.0, False, y, scale)
                codes, scales = mx_quantise(z, dtype, axis)
                assert torch.equal(scale.view(torch.uint8), scales)
                assert torch.equal(y.bytes, pack4(codes) if dtype == E2M1 else codes)


def test_no_numbers_and_zeros() -> None:
    x = torch.zeros(3, 32)
    x[1, 5], x[2, 5] = math.nan, math.inf
    y, got = torch.full((3, 32), 9, dtype=torch.int8), torch.empty(3)
    call(NAME, x, torch.eye(32), None, -1, "rint", 0, 0.0, False, y, got)
    assert y[:2].eq(0).all() and got[0] == 0 and got[1].isnan() and not got[2].isfinite()
    codes, scale = mx_outputs((3, 32), E5M2, -1)
    call(NAME, x, torch.eye(32), torch.tensor([0.5]), -1, "rint", 0, 0.0, False, codes, scale)
    assert scale.view(torch.uint8)[1:, 0, 0].eq(255).all() and codes.bytes[0].eq(0).all()


def test_empty() -> None:
    y, scale = torch.empty(0, 32, dtype=torch.int8), torch.empty(0)
    call(NAME, torch.empty(0, 32), torch.eye(32), None, -1, "rint", 0, 0.0, False, y, scale)
    y, scale = torch.empty(3, 0, dtype=torch.int8), torch.empty(3)
    with pytest.raises(OperatorError, match="aclnnRotateQuant: x is float32\\[3,0\\], wanted elements"):
        call(NAME, torch.empty(3, 0), torch.eye(32), None, -1, "rint", 0, 0.0, False, y, scale)


def test_bad_input() -> None:
    x, r, y, scale = torch.ones(4, 32), torch.eye(32), torch.zeros(4, 32, dtype=torch.int8), torch.ones(4)
    good = [x, r, None, -1, "rint", 0, 0.0, False, y, scale]
    call(NAME, *good)
    e8m0 = torch.zeros(4, 1, 2, dtype=torch.uint8).view(torch.float8_e8m0fnu)
    for at, bad, text in (
        (0, None, "x is null"),
        (0, x.int(), "x is int32"),
        (1, None, "rotation is null"),
        (1, torch.eye(24), "rotation is float32[24,24], the last dimension of x"),
        (1, torch.ones(32, 16), "rotation is float32[32,16], wanted"),
        (1, torch.ones(2, 32, 32), "rotation is float32[2,32,32], the last"),
        (2, torch.ones(2), "alpha is float32[2], wanted one number"),
        (2, torch.ones(1), "alpha is float32[1], wanted none for yOut int8"),
        (3, 2, "axis is 2"),
        (4, None, "roundMode is null"),
        (4, "floor", "roundMode is 'floor', wanted rint"),
        (7, True, "trans is true"),
        (8, None, "yOut is null"),
        (8, torch.zeros(4, 31, dtype=torch.int8), "yOut is int8[4,31]"),
        (8, torch.zeros(4, 32, dtype=torch.float8_e4m3fn), "wanted int8, int4, or an MX format"),
        (9, None, "scaleOut is null"),
        (9, torch.ones(3), "scaleOut is float32[3], wanted 4"),
        (9, e8m0, "yOut is int8[4,32], wanted float8 or float4 with scaleOut"),
    ):
        with pytest.raises(OperatorError, match=NAME) as e:
            call(NAME, *good[:at], bad, *good[at + 1 :])
        assert text in e.value.text, e.value.text
