# SPDX-License-Identifier: Apache-2.0
"""SwiGLU and its gradient quantised to MX formats along two axes: codes of the formula in float64, but for ties."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from aclnn import OperatorError, Typed, call
from compare import layouts, make
from narrow import E1M2, E2M1, E4M3, E5M2, assert_mx
from quant_cases import FLOATS

FP4 = (E2M1, E1M2)
SHAPES = ((2, 4), (5, 128), (2, 6, 200), (70, 44), (0, 8), (3, 2, 64, 4))
FORWARD, BACKWARD = "aclnnSwigluMxQuantWithDualAxis", "aclnnSwigluBackwardMxQuantWithDualAxis"


def gate(x: torch.Tensor, left: bool) -> torch.Tensor:
    a, b = x.chunk(2, -1)
    return F.silu(a) * b if left else F.silu(b) * a


def wanted(x: torch.Tensor, grad: torch.Tensor | None, left: bool) -> torch.Tensor:
    if grad is None:
        return gate(x.double(), left)
    leaf = x.double().requires_grad_(True)
    return torch.autograd.grad(gate(leaf, left), leaf, grad.double())[0]


def outputs(shape: tuple[int, ...], dtype: int, groups: int | None) -> tuple[Typed, Typed, Typed, Typed]:
    last = shape[-1] // 2 if dtype in FP4 else shape[-1]
    rows = -(-shape[-2] // 64) if groups is None else shape[-2] // 64 + groups
    ys = [Typed(torch.full((*shape[:-1], last), 99, dtype=torch.uint8), dtype) for _ in range(2)]
    first = Typed(torch.full((*shape[:-1], -(-shape[-1] // 64), 2), 99, dtype=torch.uint8), 37)
    second = Typed(torch.full((*shape[:-2], rows, shape[-1], 2), 99, dtype=torch.uint8), 37)
    return ys[0], first, ys[1], second


def run(
    x: torch.Tensor,
    dtype: int,
    grad: torch.Tensor | None = None,
    left: bool = True,
    index: torch.Tensor | None = None,
    **change: Any,
) -> tuple[Typed, Typed, Typed, Typed]:
    shape = (*x.shape[:-1], x.shape[-1] // (1 if grad is not None else 2))
    out = change.pop("out", None) or outputs(shape, dtype, None if index is None else len(index))
    given = {"left": left, "round": "rint", "alg": 0, "type": dtype, "max": 0.0} | change
    more = () if grad is None else (grad,)
    call(BACKWARD if grad is not None else FORWARD, x, *more, index, *given.values(), *out)
    return out


def check(got: tuple[Typed, ...], want: torch.Tensor, ends: list[int] | None = None, **how: float) -> None:
    y1, scale1, y2, scale2 = got
    assert_mx(y1.bytes, scale1.bytes, y1.dtype, want, -1, **how)
    if ends is None:
        assert_mx(y2.bytes, scale2.bytes, y2.dtype, want, -2, **how)
        return
    used = torch.zeros(scale2.bytes.shape[0], dtype=torch.bool)
    for g, (first, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        pair, pairs = first // 64 + g, -(-(end - first) // 64)
        used[pair : pair + pairs] = True
        assert_mx(
            y2.bytes[first:end], scale2.bytes[pair : pair + pairs], y2.dtype, want[first:end], -2, **how
        )
    assert scale2.bytes[~used].eq(0).all() and y2.bytes[ends[-1] :].eq(0).all()


@pytest.mark.parametrize("dtype", (E4M3, E5M2, E2M1, E1M2))
@pytest.mark.parametrize("source", FLOATS, ids=str)
@pytest.mark.parametrize("backward", [False, True])
def test_both_axes(dtype: int, source: torch.dtype, backward: bool) -> None:
    for shape in SHAPES:
        half = (*shape[:-1], shape[-1] // 2)
        grad = make(half, source, 1) if backward else None
        for left in (True, False):
            for _, x in layouts(make(shape, source)):
                check(run(x, dtype, grad, left), wanted(x, grad, left))
        for _, g in layouts(grad) if grad is not None else ():
            check(run(x, dtype, g), wanted(x, g, True))


@pytest.mark.parametrize("dtype", (E4M3, E2M1))
@pytest.mark.parametrize("backward", [False, True])
def test_groups(dtype: int, backward: bool) -> None:
    """Blocks begin anew at each; rows behind the last are zeros along the second axis."""
    for ends in ([2, 4], [0, 130, 130, 200], [70, 100], [33, 200], [0]):
        x = make((200, 136), torch.bfloat16)
        grad = make((200, 68), torch.bfloat16, 1) if backward else None
        for index in (torch.tensor(ends), torch.tensor(ends, dtype=torch.int32)):
            check(run(x, dtype, grad, index=index), wanted(x, grad, True), ends)


@pytest.mark.parametrize("backward", [False, True])
def test_scales_by_value(backward: bool) -> None:
    x = make((9, 192), torch.bfloat16)
    grad = make((9, 96), torch.bfloat16, 1) if backward else None
    for dtype, alg, largest in ((E4M3, 1, 448.0), (E5M2, 1, 57344.0), (E2M1, 2, 6.0)):
        check(run(x, dtype, grad, alg=alg), wanted(x, grad, True), by_value=largest)
    check(run(x, E2M1, grad, alg=2, max=7.5), wanted(x, grad, True), by_value=7.5)


def test_special_rows() -> None:
    x = make((4, 128), torch.float32)
    x[0], x[1, 3] = 0, float("nan")
    for grad in (None, torch.ones(4, 64)):
        y1, scale1, _, scale2 = run(x, E4M3, grad)
        assert y1.bytes[0].eq(0).all() == (grad is None) or grad is not None
        assert scale1.bytes[1].flatten()[0] == 255 and scale2.bytes[0, 3, 0] == 255
        assert scale1.bytes[3].flatten()[0] < 255 and scale2.bytes[0, 4, 0] < 255


@pytest.mark.parametrize("backward", [False, True])
def test_refusals(backward: bool) -> None:
    x = make((4, 128), torch.bfloat16)
    grad = make((4, 64), torch.bfloat16) if backward else None
    name = BACKWARD if backward else FORWARD
    out = outputs((4, 128 if backward else 64), E4M3, None)

    def refused(match: str, **change: Any) -> None:
        with pytest.raises(OperatorError, match=f"{name}: {match}"):
            run(**({"x": x, "dtype": E4M3, "grad": grad} | change))

    refused("scaleAlg is 2", alg=2)
    refused("roundMode is 'floor'", round="floor")
    refused("x is float64", x=x.double())
    refused("x is bfloat16\\[128\\]", x=x[0], out=out)
    refused("groupIndexOptional is float32", index=torch.ones(2))
    refused("groupIndexOptional\\[1\\] is 1, wanted 3 to 4", index=torch.tensor([3, 1]))
    refused("groupIndexOptional\\[0\\] is 1099511627776, wanted 0 to 4", index=torch.tensor([2**40]))
    refused("groupIndexOptional is int64\\[1\\], wanted none: x has 3", x=x.reshape(2, 2, 128), index=torch.tensor([2]),
            **({"grad": grad.reshape(2, 2, 64)} if grad is not None else {}))  # fmt: skip
    for i, words in enumerate(("y1Out", "mxscale1Out", "y2Out", "mxscale2Out")):
        missing = [t if k != i else None for k, t in enumerate(out)]
        refused(f"{words} is null", out=missing)
        wrong = [
            t if k != i else Typed(torch.zeros(4, 3, dtype=torch.uint8), out[i].dtype)
            for k, t in enumerate(out)
        ]
        refused(f"{words} is .*\\[4,3\\], wanted", out=wrong)
        grouped = outputs((4, 128 if backward else 64), E4M3, 2)
        wrong = [grouped[k] if k != i else wrong[i] for k in range(4)]
        refused(f"{words} is .*\\[4,3\\], wanted", out=wrong, index=torch.tensor([2, 4]))
    if grad is not None:
        refused("yGrad is bfloat16\\[4,128\\], wanted that of half of x", grad=x)
