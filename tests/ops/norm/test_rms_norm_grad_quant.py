# SPDX-License-Identifier: Apache-2.0
"""The gradient of root mean square normalisation, quantised: that of the gradient as the operator alone rounds it."""

from __future__ import annotations

import math

import pytest
import torch
from aclnn import OperatorError, Typed, call
from compare import layouts, make
from narrow import E4M3, E5M2, encode
from quant_cases import FLOATS, INT4, INT8, pack, to_range

NAME = "aclnnRmsNormGradQuant"
CASES = (((1,), 1), ((3, 8), 1), ((4, 3, 64), 1), ((5, 3, 8), 2), ((2, 1032), 1), ((70, 40), 1))


def gradient(
    dy: torch.Tensor, x: torch.Tensor, rstd: torch.Tensor, gamma: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tested against float64 in test_norms.py."""
    dx, dgamma = torch.empty_like(dy), torch.empty(gamma.shape)
    call("aclnnRmsNormGrad", dy, x, rstd, gamma, dx, dgamma)
    return dx, dgamma


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("limits", [INT8, INT4], ids=["int8", "int4"])
@pytest.mark.parametrize("divide", [True, False])
def test_integers(dtype: torch.dtype, limits: tuple[int, int], divide: bool) -> None:
    for shape, k in CASES:
        if limits == INT4 and shape[-1] % 8:
            continue
        gamma, rstd = make(shape[-k:], dtype, 1), make(shape[:-k], torch.float32, 2, 0.5, 2)
        dy = make(shape, dtype, 3)
        for _, x in layouts(make(shape, dtype)):
            dx, want_gamma = gradient(dy, x, rstd, gamma)
            for n in (1, shape[-1]):
                scale = (
                    make((n,), torch.float32, 4, 0.05, 0.2)
                    if divide
                    else make((n,), torch.bfloat16, 4, 5, 20)
                )
                for offset in (None, make((n,), torch.int32, 5, -1, 1), make((n,), torch.float32, 5)):
                    moved = dx.float() / scale.float() if divide else dx.float() * scale.float()
                    want = to_range(moved + (0 if offset is None else offset.float()), limits)
                    y = torch.full((*shape[:-1], shape[-1] * 2), 99, dtype=torch.int8)[..., ::2]
                    if limits == INT4:
                        y = torch.full((*shape[:-1], shape[-1] // 8), 99, dtype=torch.int32)
                    dgamma = torch.empty(gamma.shape)
                    call(NAME, dy, x, rstd, gamma, scale, offset, "static", divide, y, dgamma)
                    assert torch.equal(y, want.to(torch.int8) if limits == INT8 else pack(want))
                    assert torch.equal(dgamma, want_gamma)


@pytest.mark.parametrize("dtype", [E4M3, E5M2])
def test_floats_of_a_byte(dtype: int) -> None:
    dy, x, gamma = (make((5, 64), torch.bfloat16, i) for i in range(3))
    rstd, scale = torch.full((5, 1), 0.5), torch.tensor([0.25])
    dx, _ = gradient(dy, x, rstd, gamma[0])
    y = torch.zeros(5, 64, dtype=torch.uint8)
    call(NAME, dy, x, rstd, gamma[0], scale, None, "static", True, Typed(y, dtype), torch.empty(64))
    assert torch.equal(y, encode(dx.float() / 0.25, dtype))


def test_no_numbers_and_empty() -> None:
    dy = torch.tensor([[math.nan, 1.0], [1e30, 1.0]])
    y, one = torch.full((2, 2), 9, dtype=torch.int8), torch.ones(1)
    call(
        NAME,
        dy,
        torch.zeros(2, 2),
        torch.ones(2),
        torch.ones(2),
        one,
        None,
        "static",
        True,
        y,
        torch.empty(2),
    )
    assert y[0, 0] == 0 and y[1].tolist() == [127, 1]
    dgamma = torch.full((4,), 9.0)
    empty = torch.empty(0, 4)
    call(
        NAME,
        empty,
        empty,
        torch.empty(0),
        torch.ones(4),
        one,
        None,
        "static",
        True,
        empty.to(torch.int8),
        dgamma,
    )
    assert dgamma.eq(0).all()


def test_bad_input() -> None:
    x, one = torch.ones(3, 8), torch.ones(1)
    good = [
        x,
        x,
        torch.ones(3),
        torch.ones(8),
        one,
        None,
        "static",
        True,
        torch.zeros(3, 8, dtype=torch.int8),
        torch.ones(8),
    ]
    call(NAME, *good)
    for at, bad, text in (
        (0, x.double(), "dy is float64"),
        (0, torch.ones(3, 7), "dy is float32[3,7]"),
        (2, torch.ones(4), "rstd is float32[4]"),
        (3, torch.ones(7), "not"),
        (4, None, "scalesX is null"),
        (4, torch.ones(3), "scalesX is float32[3]"),
        (4, one.int(), "scalesX is int32"),
        (5, torch.ones(2), "offsetXOptional is float32[2]"),
        (5, one.double(), "offsetXOptional is float64"),
        (6, None, "quantMode is null"),
        (6, "dynamic", "quantMode is 'dynamic', wanted static"),
        (8, torch.zeros(3, 7, dtype=torch.int8), "dxOut is int8[3,7]"),
        (8, x, "dxOut is float32[3,8], wanted int8"),
        (9, torch.ones(7), "dgammaOut is float32[7]"),
    ):
        with pytest.raises(OperatorError, match=NAME) as e:
            call(NAME, *good[:at], bad, *good[at + 1 :])
        assert text in e.value.text, e.value.text
    for at in (0, 1, 2, 3, 8, 9):
        with pytest.raises(OperatorError, match=f"{NAME}: .* is null"):
            call(NAME, *good[:at], None, *good[at + 1 :])
