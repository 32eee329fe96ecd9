# SPDX-License-Identifier: Apache-2.0
"""fp4 with scales of two levels: bit by bit what the definition gives in float32 and in x's type between."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from aclnn import OperatorError, Typed, call
from compare import layouts, make
from narrow import E2M1, mx_quantise, pack4
from quant_cases import FLOATS

SHAPES = ((2,), (1, 512), (3, 514), (2, 3, 1100), (5, 30), (0, 64), (70, 96))


def outputs(shape: tuple[int, ...]) -> tuple[Typed, torch.Tensor, Typed]:
    n = shape[-1]
    y = torch.full((*shape[:-1], n // 2), 99, dtype=torch.uint8)
    level0 = torch.full((*shape[:-1], -(-n // 512)), 99.0)
    return Typed(y, E2M1), level0, Typed(torch.full((*shape[:-1], -(-n // 64), 2), 99, dtype=torch.uint8), 37)


def first_level(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scales, and what they leave in x's type."""
    n = x.shape[-1]
    blocks = -(-n // 512)
    filled = torch.nn.functional.pad(x.float(), (0, blocks * 512 - n)).unflatten(-1, (blocks, 512))
    scale = filled.abs().amax(-1) / 6
    left = torch.where(scale[..., None] == 0, 0, filled / scale[..., None]).flatten(-2)[..., :n]
    return scale, left.to(x.dtype)


@pytest.mark.parametrize("rounding", ["rint", "floor", "round"])
@pytest.mark.parametrize("source", FLOATS, ids=str)
def test_levels(source: torch.dtype, rounding: str) -> None:
    for shape in SHAPES:
        spread = make(shape, torch.float64, 1, -6, 6).exp2() * make(shape, torch.float64, 2).sign()
        for _, x in layouts(spread.to(source)):
            y, level0, level1 = outputs(shape)
            call("aclnnDynamicDualLevelMxQuant", x, None, rounding, 512, 32, y, level0, level1)
            scale, left = first_level(x)
            codes, second = mx_quantise(left, E2M1, rounding=rounding)
            assert torch.equal(level0, scale) and torch.equal(level1.bytes, second)
            assert torch.equal(y.bytes, pack4(codes))


def test_zeros_and_nan() -> None:
    x = torch.zeros(3, 1024)
    x[1, 600], x[2] = float("nan"), 8
    y, level0, level1 = outputs((3, 1024))
    call("aclnnDynamicDualLevelMxQuant", x, None, "rint", 512, 32, y, level0, level1)
    assert level0[0].tolist() == [0, 0] and level1.bytes[0].eq(0).all() and y.bytes[0].eq(0).all()
    assert level0[1, 0] == 0 and level0[1, 1].isnan() and level1.bytes[1, 8:].eq(255).all()
    assert (
        y.bytes[2].eq(0x77).all()
        and level1.bytes[2].eq(127).all()
        and level0[2].eq(torch.tensor(8.0) / 6).all()
    )


def test_refusals() -> None:
    x = torch.ones(2, 64)
    y, level0, level1 = outputs((2, 64))

    def refused(match: str, **change: Any) -> None:
        given = {
            "x": x,
            "smooth": None,
            "round": "rint",
            "b0": 512,
            "b1": 32,
            "y": y,
            "l0": level0,
            "l1": level1,
        } | change
        with pytest.raises(OperatorError, match=f"aclnnDynamicDualLevelMxQuant: {match}"):
            call("aclnnDynamicDualLevelMxQuant", *given.values())

    refused("x is null", x=None)
    refused("x is int32", x=x.int())
    refused("smoothScaleOptional is float32\\[64\\], wanted none", smooth=torch.ones(64))
    refused("roundMode is 'ceil'", round="ceil")
    refused("level0BlockSize is 256", b0=256)
    refused("level1BlockSize is 64", b1=64)
    refused("yOut is null", y=None)
    refused("level0ScaleOut is null", l0=None)
    refused("level1ScaleOut is null", l1=None)
    refused("level0ScaleOut is float32\\[2,64\\], wanted float32\\[2,1\\]", l0=x)
    refused("level1ScaleOut is", l1=y)
    refused("yOut is", y=level1)
