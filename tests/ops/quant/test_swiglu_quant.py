# SPDX-License-Identifier: Apache-2.0
"""SwiGLU with quantised results, of floating point and of sums: within one rounding of the formula in float64."""

from __future__ import annotations

import pytest
import torch
from aclnn import OperatorError, call
from compare import assert_close, layouts, make
from quant_cases import FLOATS

M, H = 21, 40
LIMIT, ALPHA, SHIFT = 7.0, 1.702, 1.0


def swiglu(x: torch.Tensor, left: bool, pairs: bool = False) -> torch.Tensor:
    wide = x.double()
    if pairs:
        a, b = wide[..., ::2].clamp(max=LIMIT), wide[..., 1::2].clamp(-LIMIT, LIMIT)
        return a * torch.sigmoid(ALPHA * a) * (b + SHIFT)
    a, b = wide.chunk(2, -1)
    if not left:
        a, b = b, a
    return torch.nn.functional.silu(a) * b


def assert_quantised(y: torch.Tensor, want: torch.Tensor, low: int = -128, high: int = 127) -> None:
    error = (y.double() - want.clamp(low, high)).abs()
    assert y.shape == want.shape and (error <= 0.5 + 1e-3).all(), error.max()


def rows_of(lengths: list[int], t: torch.Tensor) -> torch.Tensor:
    return t.repeat_interleave(torch.tensor(lengths), 0)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("left", [True, False])
def test_without_groups(dtype: torch.dtype, left: bool) -> None:
    for _, x in layouts(make((3, 7, 2 * H), dtype)):
        z = swiglu(x, left)
        for smooth in (
            make((H,), torch.float32, 1, 2, 5),
            make((1, H), torch.float32, 1, 2, 5),
            torch.full((1,), 3.0),
        ):
            y, scale = torch.zeros(3, 7, H, dtype=torch.int8), torch.zeros(3, 7)
            call("aclnnSwiGluQuantV2", x, smooth, None, None, left, "dynamic", 0, 2, y, scale)
            by = z * smooth.double().flatten()
            factor = 127 / by.abs().amax(-1)
            assert_close(scale, factor, 16)
            assert_quantised(y, by * factor[..., None])
            offset = make(tuple(smooth.shape), torch.float32, 2, -20, 20)
            call("aclnnSwiGluQuantV2", x, smooth, offset, None, left, "static", 0, 2, y, scale)
            assert_quantised(y, z * smooth.double().flatten() + offset.double().flatten())


@pytest.mark.parametrize("kind", ["ends", "lengths"])
@pytest.mark.parametrize("index", [torch.int32, torch.int64], ids=str)
def test_groups(kind: str, index: torch.dtype) -> None:
    lengths = [4, 0, 10, 7]
    group = (
        torch.tensor(lengths, dtype=index) if kind == "lengths" else torch.tensor(lengths).cumsum(0).to(index)
    )
    x, z = make((M, 2 * H), torch.bfloat16), swiglu(make((M, 2 * H), torch.bfloat16), False)
    for width in (H, 1):
        shape = (4, H) if width == H else (4,)
        smooth, offset = make(shape, torch.float32, 1, 2, 5), make(shape, torch.float32, 2, -20, 20)
        spread = [rows_of(lengths, t.double().reshape(4, width)) for t in (smooth, offset)]
        y, scale = torch.zeros(M, H, dtype=torch.int8), torch.zeros(M)
        call(
            "aclnnSwiGluQuantV2",
            x,
            smooth,
            offset,
            group,
            False,
            "static",
            int(kind == "lengths"),
            2,
            y,
            scale,
        )
        assert_quantised(y, z * spread[0] + spread[1])
        call(
            "aclnnSwiGluQuantV2",
            x,
            smooth,
            None,
            group,
            False,
            "dynamic",
            int(kind == "lengths"),
            2,
            y,
            scale,
        )
        by = z * spread[0]
        assert_quantised(y, by * 127 / by.abs().amax(-1, keepdim=True))
    for bad in ([4, 3, 10, 21], [4, 4, 14, 22], [-1, 4, 14, 21]):
        with pytest.raises(OperatorError, match="groupIndexOptional"):
            call(
                "aclnnSwiGluQuantV2",
                x,
                smooth,
                None,
                torch.tensor(bad, dtype=index),
                False,
                "dynamic",
                0,
                2,
                y,
                scale,
            )


def test_int4_in_int8() -> None:
    """Two in a byte, the first in the lowest bits."""
    for half in (H, 6):
        x, smooth = make((M, 2 * half), torch.float16), torch.ones(half)
        y, scale = torch.zeros(M, half // 2, dtype=torch.int8), torch.zeros(M)
        call("aclnnSwiGluQuantV2", x, smooth, None, None, True, "dynamic", 0, 29, y, scale)
        wide = y.to(torch.int32) & 255
        nibbles = torch.stack([wide & 15, wide >> 4], -1).flatten(-2)
        got = torch.where(nibbles > 7, nibbles - 16, nibbles)
        z = swiglu(x, True)
        assert_quantised(got, z * 7 / z.abs().amax(-1, keepdim=True), -8, 7)


@pytest.mark.parametrize(
    ("version", "pairs"),
    [
        ("aclnnDequantSwigluQuant", False),
        ("aclnnDequantSwigluQuantV2", False),
        ("aclnnDequantSwigluQuantV2", True),
    ],
)
@pytest.mark.parametrize("bias", [None, "int32", "float32"])
def test_sums(version: str, bias: str | None, pairs: bool) -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randint(-3000, 3000, (M, 2 * H), dtype=torch.int32, generator=g)
    extra = (2, "rint", -1, int(pairs), LIMIT, ALPHA, SHIFT) if version.endswith("V2") else ()
    for lengths in ([M], [4, 0, 10, 7], [4, 10]):
        groups = len(lengths)
        group = None if groups == 1 else torch.tensor(lengths)
        weight, rows = (
            make((groups, 2 * H), torch.float32, 1, 1e-3, 2e-3),
            make((M,), torch.float32, 2, 0.5, 2),
        )
        quant, offset = (
            make((groups, H), torch.float32, 3, 0.02, 0.2),
            make((groups, H), torch.float32, 4, -9, 9),
        )
        add = {
            None: None,
            "int32": torch.randint(-99, 99, (groups, 2 * H), dtype=torch.int32),
            "float32": make((groups, 2 * H), torch.float32, 5),
        }[bias]
        n = sum(lengths)
        wide = x[:n].double() + (rows_of(lengths, add).double() if bias == "int32" else 0)
        wide = wide * rows_of(lengths, weight).double() * rows[:n, None].double()
        z = swiglu(wide + (rows_of(lengths, add).double() if bias == "float32" else 0), True, pairs)
        y, scale = torch.full((M, H), 9, dtype=torch.int8), torch.zeros(M)
        call(version, x, weight, rows, add, quant, None, group, True, "dynamic", *extra, y, scale)
        by = z * rows_of(lengths, quant).double()
        assert_close(scale[:n], by.abs().amax(-1) / 127, 16, 1e-7)
        assert_quantised(y[:n], by * 127 / by.abs().amax(-1, keepdim=True))
        assert y[n:].eq(0).all()
        call(version, x, weight, rows, add, quant, offset, group, True, "static", *extra, y, scale)
        want = z / rows_of(lengths, quant).double() + rows_of(lengths, offset).double()
        error = (y[:n].double() - want.clamp(-128, 127)).abs()
        assert (error <= 0.5 + 1e-3 + want.abs() * 1e-5).all()


def test_rounding_and_refusals() -> None:
    x, y, scale = make((M, 2 * H), torch.bfloat16), torch.zeros(M, H, dtype=torch.int8), torch.zeros(M)
    z = swiglu(x, False).float() / 0.1
    for word, function in {"floor": torch.floor, "ceil": torch.ceil, "trunc": torch.trunc}.items():
        call("aclnnDequantSwigluQuantV2", x, None, None, None, torch.full((1,), 0.1), None, None, False, "static", 2,
             word, -1, 0, LIMIT, ALPHA, SHIFT, y, scale)  # fmt: skip
        assert ((y - function(z).clamp(-128, 127)).abs() <= 1).all()
        assert (y == function(z).clamp(-128, 127)).float().mean() > 0.99

    def refused(text: str, **change: object) -> None:
        given = {
            "x": x,
            "weight": None,
            "rows": None,
            "bias": None,
            "quant": None,
            "offset": None,
            "groups": None,
        }
        given |= {
            "left": True,
            "mode": "dynamic",
            "dst": 2,
            "round": "rint",
            "dim": -1,
            "swiglu": 0,
            "limit": LIMIT,
        }
        given |= {"alpha": ALPHA, "shift": SHIFT, "y": y, "scale": scale} | change
        with pytest.raises(OperatorError, match=text):
            call("aclnnDequantSwigluQuantV2", *given.values())

    refused("quantModeOptional is 'none'", mode="none")
    refused("roundModeOptional is 'up'", round="up")
    refused("activateDim is 0", dim=0)
    refused("swigluMode is 2", swiglu=2)
    refused("clampLimit is -1", swiglu=1, limit=-1.0)
    refused("weightScaleOptional is null with x of int32", x=x.int())
    refused("wanted none, or int32", weight=torch.ones(2 * H))
    refused("quantScaleOptional is float32\\[3\\]", quant=torch.ones(3))
    refused("even last dimension", x=x[:, :-1])
    refused("yOut is int8\\[21,39\\]", y=y[:, 1:])
    refused("scaleOut is float32\\[20\\]", scale=scale[1:])
    with pytest.raises(OperatorError, match="groupListType is 2"):
        call("aclnnSwiGluQuantV2", x, torch.ones(H), None, None, True, "dynamic", 2, 2, y, scale)
