# SPDX-License-Identifier: Apache-2.0
"""int4 of a matrix between two others, against float64."""

from __future__ import annotations

import math

import pytest
import torch
from aclnn import OperatorError, call
from compare import assert_close, layouts, make
from quant_cases import FLOATS, INT4, pack, to_range, unpack

SHAPES = ((1, 1, 8), (3, 7, 16), (2, 33, 24), (0, 3, 8))


def run(
    x: torch.Tensor, p1: torch.Tensor, p2: torch.Tensor, clip: float, version: str
) -> tuple[torch.Tensor, torch.Tensor]:
    out = torch.full((*x.shape[:2], x.shape[2] // 8), 99, dtype=torch.int32)
    scale = torch.full((x.shape[0],), 9.0)
    call(f"aclnnFlatQuant{version}", x, p1, p2, clip, *([0.0] if version else []), out, scale)
    return out, scale


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("clip", [1.0, 0.7848])
@pytest.mark.parametrize("version", ["", "V2"])
def test_whole_numbers(dtype: torch.dtype, clip: float, version: str) -> None:
    """Products of small whole numbers are exact, and so is the result to the bit."""
    for shape in SHAPES:
        p = [make((n, n), dtype, i, -2, 2).round() for i, n in enumerate(shape[1:])]
        for _, x in layouts(make(shape, dtype, 5, -2, 2).round()):
            z = (p[0].double() @ x.double() @ p[1].double()).float().flatten(1)
            scale = z.abs().amax(1) / (torch.tensor(7.0) * torch.tensor(clip)) if shape[0] else torch.empty(0)
            want = to_range(z / scale[:, None], INT4).reshape(shape)
            for _, p1 in layouts(p[0]):
                for _, p2 in layouts(p[1]):
                    out, got = run(x, p1, p2, clip, version)
                    assert torch.equal(got, scale)
                    assert torch.equal(out, pack(want))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_numbers(dtype: torch.dtype) -> None:
    """A value next to a half may go either way."""
    x, p1, p2 = make((6, 20, 48), dtype), make((20, 20), dtype, 1), make((48, 48), dtype, 2)
    out, scale = run(x, p1, p2, 0.9, "")
    z = p1.double() @ x.double() @ p2.double()
    assert_close(scale, z.abs().amax((1, 2)) / (7 * 0.9), 20)
    exact = z / scale.double()[:, None, None]
    assert ((unpack(out).double() - exact).abs() < 0.5 + 1e-4).all()


def test_no_numbers_and_zeros() -> None:
    x = torch.zeros(3, 2, 8)
    x[1, 0, 0], x[2, 0, 0] = math.nan, math.inf
    out, scale = run(x, torch.eye(2), torch.eye(8), 1.0, "")
    assert out[:2].eq(0).all() and scale[0] == 0 and scale[1].isnan() and not scale[2].isfinite()


def test_outputs_of_any_strides() -> None:
    x, p1, p2 = (
        make((3, 4, 16), torch.float32),
        make((4, 4), torch.float32, 1),
        make((16, 16), torch.float32, 2),
    )
    want, scale = run(x, p1, p2, 1.0, "")
    out, got = torch.zeros(2, 4, 3, dtype=torch.int32).permute(2, 1, 0), torch.zeros(3, 2)[:, 0]
    call("aclnnFlatQuant", x, p1, p2, 1.0, out, got)
    assert torch.equal(out, want) and torch.equal(got, scale)


def test_bad_input() -> None:
    x, p1, p2 = torch.ones(3, 4, 16), torch.eye(4), torch.eye(16)
    good = [x, p1, p2, 1.0, torch.zeros(3, 4, 2, dtype=torch.int32), torch.zeros(3)]
    for at, bad, text in (
        (0, None, "x is null"),
        (0, torch.ones(4, 16), "x is float32[4,16], wanted three dimensions"),
        (0, torch.ones(3, 0, 16), "kroneckerP1 is float32[4,4], wanted [0,0]"),
        (1, None, "kroneckerP1 is null"),
        (1, p2, "kroneckerP1 is float32[16,16], wanted [4,4]"),
        (2, None, "kroneckerP2 is null"),
        (2, p2.int(), "kroneckerP2 is int32"),
        (3, 0.0, "clipRatio is 0"),
        (3, 1.5, "clipRatio is 1.5"),
        (3, math.nan, "clipRatio is nan"),
        (4, None, "out is null"),
        (4, torch.zeros(3, 4, 16, dtype=torch.int8), "out is int8"),
        (4, torch.zeros(3, 4, 3, dtype=torch.int32), "out is int32[3,4,3]"),
        (5, None, "quantScale is null"),
        (5, torch.zeros(4), "quantScale is float32[4], wanted 3"),
    ):
        with pytest.raises(OperatorError, match="aclnnFlatQuant: ") as e:
            call("aclnnFlatQuant", *good[:at], bad, *good[at + 1 :])
        assert text in e.value.text, e.value.text
    with pytest.raises(OperatorError, match="aclnnFlatQuantV2: dstTypeMax is 6, wanted 0"):
        call("aclnnFlatQuantV2", *good[:4], 6.0, *good[4:])
