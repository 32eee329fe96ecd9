# SPDX-License-Identifier: Apache-2.0
"""RMS norms with quantised results: within one rounding of the formula in float64."""

from __future__ import annotations

import pytest
import torch
from aclnn import BoolArray, OperatorError, call
from compare import assert_close, layouts, make
from quant_cases import FLOATS, INT4, INT8, unpack

SHAPES = ((1, 8), (5, 64), (2, 3, 1032), (70, 40))
EPS = 1e-6


def norm(x: torch.Tensor, gamma: torch.Tensor, beta: torch.Tensor | None) -> torch.Tensor:
    wide = x.double()
    dims = tuple(range(-gamma.dim(), 0))
    y = wide * (wide.pow(2).mean(dims, keepdim=True) + EPS).rsqrt() * gamma.double()
    return y if beta is None else y + beta.double()


def result(shape: tuple[int, ...], limits: tuple[int, int]) -> torch.Tensor:
    if limits == INT8:
        return torch.full(shape, 99, dtype=torch.int8)
    return torch.full((*shape[:-1], shape[-1] // 8), 99, dtype=torch.int32)


def assert_quantised(y: torch.Tensor, want: torch.Tensor, limits: tuple[int, int]) -> None:
    """Rounded to nearest, but for what float32 makes of the number before."""
    got = (y if limits == INT8 else unpack(y)).double()
    assert got.shape == want.shape
    assert ((got - want.clamp(*limits)).abs() <= 0.5 + 1e-4 + want.abs() * 1e-5).all()


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("limits", [INT8, INT4], ids=["int8", "int4"])
@pytest.mark.parametrize("divide", [True, False])
def test_static(dtype: torch.dtype, limits: tuple[int, int], divide: bool) -> None:
    for shape in SHAPES:
        last = shape[-1:]
        gamma, beta = make(last, dtype, 1), make(last, dtype, 2)
        low, high = (0.02, 0.1) if divide else (10, 50)
        scales = [make(s, torch.float32, 3 + i, low, high) for i, s in enumerate((last, (1,)))]
        zeros = [make(last, torch.int32, 5), make((1,), torch.bfloat16, 6)]
        for _, a in layouts(make(shape, dtype)):
            b = make(shape, dtype, 9)
            y, second, total, plain = (
                result(shape, limits),
                result(shape, limits),
                torch.zeros_like(b),
                torch.zeros_like(b),
            )
            call(
                "aclnnAddRmsNormQuantV2",
                a,
                b,
                gamma,
                *scales,
                *zeros,
                beta,
                -1,
                EPS,
                divide,
                y,
                second,
                total,
                plain,
            )
            assert torch.equal(total, a + b)
            z = norm(total, gamma, beta)
            assert_close(plain, z, 2, 1e-5)
            for got, scale, zero in zip((y, second), scales, zeros, strict=True):
                assert_quantised(got, (z / scale if divide else z * scale) + zero.double(), limits)
            call(
                "aclnnAddRmsNormQuant",
                a,
                b,
                gamma,
                scales[0],
                None,
                zeros[0],
                None,
                -1,
                EPS,
                divide,
                y,
                second,
                total,
            )
            z = norm(total, gamma, None)
            assert_quantised(y, (z / scales[0] if divide else z * scales[0]) + zeros[0], limits)
            assert_quantised(second, z, limits)  # without scales of its own: by 1


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_alone(dtype: torch.dtype) -> None:
    for shape in SHAPES:
        last = shape[-1:]
        gamma, beta = make(last, dtype, 1), make(last, dtype, 2)
        scale, offset = make((1,), torch.float32, 3, 0.02, 0.1), make((1,), torch.int8, 4)
        for _, x in layouts(make(shape, dtype)):
            y, rstd = result(shape, INT8), torch.zeros(*shape[:-1], 1)
            call("aclnnRmsNormQuant", x, gamma, beta, scale, offset, EPS, y)
            assert_quantised(y, norm(x, gamma, beta) / scale + offset, INT8)
            call("aclnnRmsNormQuantV3", x, gamma, 1 / scale, None, None, EPS, False, True, y, rstd)
            assert_quantised(y, norm(x, gamma, None) / scale, INT8)
            assert_close(rstd, (x.double().pow(2).mean(-1, keepdim=True) + EPS).rsqrt(), 2)
            call("aclnnRmsNormQuantV3", x, gamma, scale, offset, beta, EPS, True, False, y, torch.empty(0))
            assert_quantised(y, norm(x, gamma, beta) / scale + offset, INT8)


@pytest.mark.parametrize("op", ["aclnnRmsNormQuant", "aclnnRmsNormQuantV3"])
def test_gamma_of_one_row(op: str) -> None:
    """Two dimensions of gamma, one of which has one element, are those of a row."""
    for shape in ((5, 64), (2, 3, 64), (4, 1, 64), (64,)):
        gamma, beta = make((1, 64), torch.float16, 1), make((1, 64), torch.float16, 2)
        x, scale, offset = (
            make(shape, torch.float16),
            torch.full((1,), 0.05),
            torch.zeros(1, dtype=torch.int8),
        )
        y, rstd = result(shape, INT8), torch.zeros(shape[:-1])
        if op.endswith("V3"):
            call(op, x, gamma, scale, offset, beta, EPS, True, True, y, rstd)
            assert_close(rstd, (x.double().pow(2).mean(-1) + EPS).rsqrt(), 4)
        else:
            call(op, x, gamma, beta, scale, offset, EPS, y)
        assert_quantised(y, norm(x, gamma[0], beta[0]) / 0.05, INT8)
    with pytest.raises(OperatorError, match="normalised shape"):
        call(op, *((x, gamma[:, 1:], scale, offset, beta, EPS, True, False, y, rstd) if op.endswith("V3")
                   else (x, gamma[:, 1:], beta, scale, offset, EPS, y)))  # fmt: skip


def test_several_dimensions() -> None:
    x, gamma = make((3, 4, 16), torch.float32), make((4, 16), torch.float32, 1)
    y = result((3, 4, 16), INT8)
    call("aclnnRmsNormQuant", x, gamma, None, torch.full((1,), 0.05), None, EPS, y)
    assert_quantised(y, norm(x, gamma, None) / 0.05, INT8)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("limits", [INT8, INT4], ids=["int8", "int4"])
@pytest.mark.parametrize("mask", [None, (True, True), (True, False), (False, True)], ids=str)
def test_dynamic(dtype: torch.dtype, limits: tuple[int, int], mask: tuple[bool, bool] | None) -> None:
    for shape in SHAPES:
        last = shape[-1:]
        gamma, beta = make(last, dtype, 1), make(last, dtype, 2)
        smooth = [make(last, dtype, 3, 0.5, 2), make(last, dtype, 4, 0.5, 2)]
        for given in (smooth, [smooth[0], None], [None, None]):
            wanted = mask or (True, given[1] is not None)
            a, b = make(shape, dtype), make(shape, dtype, 9)
            ys = [result(shape, limits) if w else torch.zeros((), dtype=torch.int8) for w in wanted]
            scales = [torch.zeros(shape[:-1]) if w else torch.zeros(()) for w in wanted]
            total = torch.zeros_like(a)
            call(
                "aclnnAddRmsNormDynamicQuantV2", a, b, gamma, *given, beta, EPS,
                None if mask is None else BoolArray(mask), *ys, total, *scales,
            )  # fmt: skip
            assert torch.equal(total, a + b)
            z = norm(total, gamma, beta)
            for want, y, scale, by in zip(wanted, ys, scales, given, strict=True):
                if not want:
                    continue
                smoothed = z if by is None else z * by.double()
                factor = smoothed.abs().amax(-1) / limits[1]
                assert_close(scale, factor, 8)
                assert_quantised(y, smoothed / factor[..., None], limits)


def test_refusals() -> None:
    x, gamma, y, one = torch.zeros(4, 8), torch.ones(8), torch.zeros(4, 8, dtype=torch.int8), torch.ones(1)
    for text, args in {
        "axis is 0": (x, x, gamma, one, None, None, None, 0, EPS, True, y, y, x.clone()),
        "scales1 is float32\\[3\\]": (
            x,
            x,
            gamma,
            torch.ones(3),
            None,
            None,
            None,
            -1,
            EPS,
            True,
            y,
            y,
            x.clone(),
        ),
        "scales1 is null": (x, x, gamma, None, None, None, None, -1, EPS, True, y, y, x.clone()),
        "y1Out is int16": (x, x, gamma, one, None, None, None, -1, EPS, True, y.short(), y, x.clone()),
        "x2 is float32\\[4,7\\]": (x, x[:, :7], gamma, one, None, None, None, -1, EPS, True, y, y, x.clone()),
        "zeroPoints1Optional is float32\\[2\\]": (
            x,
            x,
            gamma,
            one,
            None,
            torch.ones(2),
            None,
            -1,
            EPS,
            True,
            y,
            y,
            x.clone(),
        ),
    }.items():
        with pytest.raises(OperatorError, match=text):
            call("aclnnAddRmsNormQuant", *args)
