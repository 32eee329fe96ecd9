# SPDX-License-Identifier: Apache-2.0
"""GELU and quantisation: as the quantisation of the GELU that is an operator of its own, bit by bit."""

from __future__ import annotations

import math

import pytest
import torch
from aclnn import HIFLOAT8, OperatorError, Typed, call
from compare import layouts, make
from quant_cases import FLOATS

# By number: what tells y apart from its bytes.
TYPES = {2: torch.int8, 36: torch.uint8, 35: torch.uint8, HIFLOAT8: torch.uint8}
SHAPES = ((1, 1), (3, 17), (2, 5, 24), (65, 1031), (0, 4))


def gelu(x: torch.Tensor, approximate: str) -> torch.Tensor:
    """In float32, by the operator: its own test compares it with float64."""
    wide, out = x.float().contiguous(), torch.empty(x.shape)
    call("aclnnGeluV2", wide, int(approximate == "tanh"), out)
    return out


def bytes_for(shape: tuple[int, ...], dtype: int) -> torch.Tensor:
    return torch.full(shape, 99, dtype=TYPES[dtype])


def given(y: torch.Tensor, dtype: int) -> torch.Tensor | Typed:
    return y if dtype == 2 else Typed(y, dtype)


@pytest.mark.parametrize("dtype", list(TYPES))
@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize("source", FLOATS, ids=str)
def test_static(dtype: int, approximate: str, source: torch.dtype) -> None:
    mode = "round" if dtype == HIFLOAT8 else "rint"
    for shape in SHAPES:
        for each in (False, True):
            scale = make(shape[-1:] if each else (1,), source, 1, 5, 20)
            offset = make(shape[-1:] if each else (1,), source, 2)
            for _, x in layouts(make(shape, source)):
                for shift in (None, offset):
                    y, want = bytes_for(shape, dtype), bytes_for(shape, dtype)
                    call(
                        "aclnnGeluQuant",
                        x,
                        scale,
                        shift,
                        approximate,
                        "static",
                        mode,
                        dtype,
                        given(y, dtype),
                        None,
                    )
                    call(
                        "aclnnAscendQuantV3", gelu(x, approximate), scale, shift, False, "round", dtype, -1,
                        given(want, dtype),
                    )  # fmt: skip
                    assert torch.equal(y, want)


@pytest.mark.parametrize("dtype", list(TYPES))
@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize("source", FLOATS, ids=str)
def test_dynamic(dtype: int, approximate: str, source: torch.dtype) -> None:
    mode = "round" if dtype == HIFLOAT8 else "rint"
    for shape in SHAPES[:-1]:
        smooth = make(shape[-1:], source, 1, 0.5, 2)
        for _, x in layouts(make(shape, source)):
            for by in (None, smooth):
                y, want = bytes_for(shape, dtype), bytes_for(shape, dtype)
                scale, wanted = torch.empty(shape[:-1]), torch.empty(shape[:-1])
                call(
                    "aclnnGeluQuant", x, by, None, approximate, "dynamic", mode, dtype, given(y, dtype), scale
                )
                call("aclnnDynamicQuant", gelu(x, approximate), by, given(want, dtype), wanted)
                assert torch.equal(y, want) and torch.equal(scale, wanted)


def test_special_values() -> None:
    x = torch.tensor([[math.nan, 1.0, math.inf, -math.inf, 0.0]])
    y = torch.empty(1, 5, dtype=torch.int8)
    call("aclnnGeluQuant", x, torch.ones(1), None, "tanh", "static", "rint", 2, y, None)
    assert y[0, 1:3].tolist() == [1, 127] and y[0, 4] == 0 and y[0, 0] == 0


def test_bad_input() -> None:
    x, one, y = make((3, 8), torch.float32), torch.ones(1), torch.empty(3, 8, dtype=torch.int8)

    def refused(match: str, *args: object) -> None:
        with pytest.raises(OperatorError, match=match):
            call("aclnnGeluQuant", *args)

    refused("approximate is 'erf'", x, one, None, "erf", "static", "rint", 2, y, None)
    refused("quantMode is 'both'", x, one, None, "none", "both", "rint", 2, y, None)
    refused("roundMode is 'floor'", x, one, None, "none", "static", "floor", 2, y, None)
    refused("roundMode round: wanted", x, one, None, "none", "static", "round", 2, y, None)
    refused("inputScaleOptional is null", x, None, None, "none", "static", "rint", 2, y, None)
    refused("inputScaleOptional is", x, torch.ones(3), None, "none", "static", "rint", 2, y, None)
    refused("outScaleOptional is null", x, None, None, "none", "dynamic", "rint", 2, y, None)
    refused("outScaleOptional is", x, None, None, "none", "dynamic", "rint", 2, y, torch.empty(8))
    refused("dstType is 36", x, one, None, "none", "static", "rint", 36, y, None)
    refused("self is int32", x.int(), one, None, "none", "static", "rint", 2, y, None)
