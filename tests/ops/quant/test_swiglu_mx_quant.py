# SPDX-License-Identifier: Apache-2.0
"""SwiGLU quantised to MX formats: codes of the formula in float64, but for what float32 makes of ties."""

from __future__ import annotations

import pytest
import torch
from aclnn import OperatorError, Typed, call
from compare import layouts, make
from narrow import E1M2, E2M1, E4M3, E5M2, assert_mx
from quant_cases import FLOATS

FP4 = (E2M1, E1M2)
SHAPES = ((2, 4), (5, 128), (2, 6, 200), (70, 44), (0, 8), (3, 2, 64, 4))


def gate(x: torch.Tensor, dim: int, left: bool) -> torch.Tensor:
    a, b = x.double().chunk(2, dim)
    return torch.nn.functional.silu(a) * b if left else torch.nn.functional.silu(b) * a


def run(
    x: torch.Tensor, dtype: int, dim: int = -1, left: bool = False, axis: int = -1, **change: object
) -> tuple[Typed, torch.Tensor]:
    shape = list(x.shape)
    shape[dim] //= 2
    blocks = list(shape)
    blocks[axis] = -(-shape[axis] // 64)
    last = shape[-1] // 2 if dtype in FP4 else shape[-1]
    given = {
        "x": x, "groups": None, "dim": dim, "left": left, "mode": 0, "limit": 7.0, "alpha": 1.702, "bias": 1.0,
        "group_mode": 0, "axis": axis, "type": dtype, "round": "rint", "alg": 0, "max": 0.0,
        "y": Typed(torch.full((*shape[:-1], last), 99, dtype=torch.uint8), dtype),
        "scale": Typed(torch.full((*blocks, 2), 99, dtype=torch.uint8), 37),
    } | change  # fmt: skip
    call("aclnnSwigluMxQuant", *given.values())
    return given["y"], given["scale"].bytes


def check(y: Typed, scale: torch.Tensor, want: torch.Tensor, axis: int, **how: float) -> None:
    assert_mx(y.bytes, scale, y.dtype, want, axis, **how)


@pytest.mark.parametrize("dtype", (E4M3, E5M2, E2M1, E1M2))
@pytest.mark.parametrize("source", FLOATS, ids=str)
def test_halves_and_axes(dtype: int, source: torch.dtype) -> None:
    for shape in SHAPES:
        for dim in range(-len(shape), 0):
            halved = shape[dim] // 2 if dim == -1 else shape[-1]
            if shape[dim] % 2 or (dtype in FP4 and halved % 2):
                continue
            for axis in range(-len(shape), 0):
                for _, x in layouts(make(shape, source)):
                    y, scale = run(x, dtype, dim, axis % 2 == 0, axis)
                    check(y, scale, gate(x, dim, axis % 2 == 0), axis)


@pytest.mark.parametrize("dtype", (E4M3, E2M1))
@pytest.mark.parametrize("source", FLOATS, ids=str)
def test_pairs_with_limits(dtype: int, source: torch.dtype) -> None:
    """Along any axis: the first of a pair is activated, and limited from above only."""
    limit, alpha, shift = 0.75, 1.5, 0.5
    for shape, dim, axis in (((5, 128), -1, -1), ((2, 6, 200), -1, -2), ((70, 44), -2, -1), ((6, 4), 0, 0)):
        x = make(shape, source)
        pairs = x.double().movedim(dim, -1).unflatten(-1, (-1, 2))
        a, b = pairs[..., 0].clamp(max=limit), pairs[..., 1].clamp(-limit, limit)
        want = (a * torch.sigmoid(alpha * a) * (b + shift)).movedim(-1, dim)
        y, scale = run(x, dtype, dim, axis=axis, mode=1, limit=limit, alpha=alpha, bias=shift)
        check(y, scale, want, axis)


def test_scales_by_value() -> None:
    x = make((9, 192), torch.bfloat16)
    for dtype, alg, largest in ((E4M3, 1, 448.0), (E5M2, 1, 57344.0), (E2M1, 2, 6.0)):
        y, scale = run(x, dtype, left=True, alg=alg)
        check(y, scale, gate(x, -1, True), -1, by_value=largest)
    y, scale = run(x, E2M1, left=True, alg=2, max=7.5)
    check(y, scale, gate(x, -1, True), -1, by_value=7.5)


def test_special_rows() -> None:
    x = make((4, 128), torch.float32)
    x[0], x[1, 3], x[2, 70] = 0, float("nan"), float("inf")
    y, scale = run(x, E4M3, left=True)
    assert y.bytes[0].eq(0).all() and scale[0].eq(0).all()
    assert scale[1].flatten().tolist()[0] == 255 and scale[2].flatten().tolist()[0] == 255
    check(Typed(y.bytes[3:], E4M3), scale[3:], gate(x[3:], -1, True), -1)


def test_refusals() -> None:
    x = make((4, 128), torch.bfloat16)

    def refused(match: str, **change: object) -> None:
        with pytest.raises(OperatorError, match=match):
            run(**({"x": x, "dtype": E4M3} | change))

    refused("groupIndexOptional is int64\\[1\\]", groups=torch.tensor([4]))
    refused("swigluMode is 2", mode=2)
    refused("clampLimit is 0, ", mode=1, limit=0.0)
    refused("gluAlpha inf", mode=1, alpha=float("inf"))
    refused("scaleAlg is 2", alg=2)
    refused("roundMode is 'floor'", round="floor")
    refused("yOut is", y=Typed(torch.zeros(4, 128, dtype=torch.uint8), E4M3))
    refused("mxscaleOut is", scale=Typed(torch.zeros(4, 2, 2, dtype=torch.uint8), 37))
    with pytest.raises(OperatorError, match="activateDim is 2"):
        call("aclnnSwigluMxQuant", x, None, 2, True, 0, 7.0, 1.7, 1.0, 0, -1, E4M3, "rint", 0, 0.0, x, x)
    with pytest.raises(OperatorError, match="axis is -3"):
        call("aclnnSwigluMxQuant", x, None, 1, True, 0, 7.0, 1.7, 1.0, 0, -3, E4M3, "rint", 0, 0.0, x, x)
    with pytest.raises(OperatorError, match="even size"):
        call(
            "aclnnSwigluMxQuant", x[:, 1:], None, 1, True, 0, 7.0, 1.7, 1.0, 0, -1, E4M3, "rint", 0, 0.0, x, x
        )
