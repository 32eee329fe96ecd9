# SPDX-License-Identifier: Apache-2.0
"""RMS norms quantised to MX formats: codes of the formula in float64, but for what float32 makes of ties."""

from __future__ import annotations

import pytest
import torch
from aclnn import OperatorError, Typed, call
from compare import assert_close, layouts, make
from narrow import E1M2, E2M1, E4M3, E5M2, assert_mx
from quant_cases import FLOATS

EPS = 1e-6
FORMATS = (E4M3, E5M2, E2M1, E1M2)
LARGEST = {E4M3: 448.0, E5M2: 57344.0, E2M1: 6.0}
SHAPES = ((1, 2), (5, 64), (2, 3, 1032), (70, 40), (64,), (0, 8))


def outputs(shape: tuple[int, ...], dtype: int) -> tuple[Typed, torch.Tensor]:
    last = shape[-1] // 2 if dtype in (E2M1, E1M2) else shape[-1]
    y = torch.full((*shape[:-1], last), 99, dtype=torch.uint8)
    return Typed(y, dtype), torch.full((*shape[:-1], -(-shape[-1] // 64), 2), 99, dtype=torch.uint8)


def norm(
    x: torch.Tensor, gamma: torch.Tensor, beta: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    wide = x.double()
    rstd = (wide.pow(2).mean(-1, keepdim=True) + EPS).rsqrt()
    y = wide * rstd * gamma.double()
    return y if beta is None else y + beta.double(), rstd.squeeze(-1)


def check(y: Typed, scale: torch.Tensor, want: torch.Tensor, **how: float) -> None:
    assert_mx(y.bytes, scale, y.dtype, want, **how)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("source", FLOATS, ids=str)
def test_alone(dtype: int, source: torch.dtype) -> None:
    for shape in SHAPES:
        gamma = make(shape[-1:], torch.float32, 1)
        for beta in (None, make(shape[-1:], torch.float32, 2)):
            for _, x in layouts(make(shape, source)):
                want, factor = norm(x, gamma, beta)
                y, scale = outputs(shape, dtype)
                rstd = torch.full(shape[:-1], 9.0)
                call(
                    "aclnnRmsNormDynamicMxQuant",
                    x,
                    gamma,
                    beta,
                    EPS,
                    0,
                    "rint",
                    dtype,
                    True,
                    y,
                    Typed(scale, 37),
                    rstd,
                )
                check(y, scale, want)
                assert_close(rstd, factor, 4)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("source", FLOATS, ids=str)
def test_after_an_addition(dtype: int, source: torch.dtype) -> None:
    for shape in SHAPES:
        gamma, beta = make(shape[-1:], source, 1), make(shape[-1:], source, 2)
        for _, a in layouts(make(shape, source)):
            b, total = make(shape, source, 9), torch.zeros(shape, dtype=source)
            y, scale = outputs(shape, dtype)
            call(
                "aclnnAddRmsNormDynamicMxQuant", a, b, gamma, beta, EPS, 0, "rint", dtype, False, y, total,
                Typed(scale, 37), torch.empty(0),
            )  # fmt: skip
            assert torch.equal(total, a + b)
            check(y, scale, norm(total, gamma, beta)[0])


def test_scales_by_value_and_special_rows() -> None:
    x, gamma = make((7, 96), torch.bfloat16), torch.ones(96)
    for dtype, largest in LARGEST.items():
        y, scale = outputs((7, 96), dtype)
        call(
            "aclnnRmsNormDynamicMxQuant", x, gamma, None, EPS, 2 if dtype == E2M1 else 1, "rint", dtype, False, y,
            Typed(scale, 37), None,
        )  # fmt: skip
        check(y, scale, norm(x, gamma, None)[0], by_value=largest)
    x[0], x[1, 3], x[2, 5] = 0, float("nan"), float("inf")
    y, scale = outputs((7, 96), E4M3)
    call("aclnnRmsNormDynamicMxQuant", x, gamma, None, EPS, 0, "rint", E4M3, False, y, Typed(scale, 37), None)
    assert y.bytes[0].eq(0).all() and scale[0].eq(0).all()
    assert scale[1].flatten()[:3].eq(255).all() and scale[2, 0, 0] == 255
    check(Typed(y.bytes[3:], E4M3), scale[3:], norm(x[3:], gamma, None)[0])


def test_refusals() -> None:
    x, gamma = make((4, 8), torch.float32), torch.ones(8)
    y, scale = outputs((4, 8), E4M3)
    good = {
        "x": x, "gamma": gamma, "beta": None, "eps": EPS, "alg": 0, "round": "rint", "type": E4M3, "rstd": False,
        "y": y, "scale": Typed(scale, 37), "out": None,
    }  # fmt: skip

    def refused(match: str, **changed: object) -> None:
        with pytest.raises(OperatorError, match=match):
            call("aclnnRmsNormDynamicMxQuant", *(good | changed).values())

    refused("x is int32", x=x.int())
    refused("normalised shape", gamma=torch.ones(7))
    refused("beta is float32\\[7\\]", beta=torch.ones(7))
    refused("scaleAlg is 3", alg=3)
    refused("roundMode is 'up'", round="up")
    refused("dstType is 2", type=2)
    refused("rstdOut is null", rstd=True)
    refused("rstdOut is float32\\[3\\]", rstd=True, out=torch.zeros(3))
    refused("mxscaleOut is", scale=Typed(scale[:3], 37))
    refused("yOut is", y=outputs((4, 6), E4M3)[0])
    with pytest.raises(OperatorError, match="x2 is float32\\[4,7\\]"):
        call("aclnnAddRmsNormDynamicMxQuant", x, x[:, :7], gamma, None, EPS, 0, "rint", E4M3, False, y, x.clone(),
             Typed(scale, 37), None)  # fmt: skip
