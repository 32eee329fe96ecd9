# SPDX-License-Identifier: Apache-2.0
"""A product and what follows it, against float64: rounded once, or twice as two operators do."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from aclnn import OperatorError, call
from compare import assert_close, layouts, make

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
ATOL = 4e-6  # of sums of 17 products of numbers up to 4, in float32
UNARY = {
    "": lambda z: z,
    "relu": F.relu,
    "gelu_erf": F.gelu,
    "gelu_tanh": lambda z: F.gelu(z, approximate="tanh"),
}
BINARY = {"add": torch.add, "mul": torch.mul}
SHAPES = (
    ((5, 17), (17, 33)),
    ((3, 5, 17), (17, 6)),
    ((2, 1, 4, 17), (3, 17, 7)),
    ((1, 17), (17, 1)),
    ((70, 17), (17, 300)),
)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("word", list(UNARY))
def test_activations(dtype: torch.dtype, word: str) -> None:
    for a, b in SHAPES:
        for _, x1 in layouts(make(a, dtype)):
            for _, x2 in layouts(make(b, dtype, 1)):
                for bias in (None, make(b[-1:], dtype, 2), make(b[-1:], torch.float32, 2)):
                    z = x1.double() @ x2.double() + (0 if bias is None else bias.double())
                    out = torch.empty(z.shape, dtype=dtype)
                    call("aclnnFusedMatmul", x1, x2, bias, None, word, 4, out)
                    assert_close(out, UNARY[word](z), 2, 17 * ATOL)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("word", list(BINARY))
def test_third_operand(dtype: torch.dtype, word: str) -> None:
    for a, b in SHAPES:
        x1, x2 = make(a, dtype), make(b, dtype, 1)
        z = x1.double() @ x2.double()
        for third in (z.shape, z.shape[-1:], (z.shape[-2], 1)):
            for _, x3 in layouts(make(tuple(third), dtype, 2)):
                for bias in (None, make(b[-1:], dtype, 3)):
                    want = BINARY[word](z + (0 if bias is None else bias.double()), x3.double())
                    wide = torch.empty((*z.shape[:-1], 2 * z.shape[-1]), dtype=dtype)
                    out = wide[..., ::2]
                    call("aclnnFusedMatmul", x1, x2, bias, x3, word, 4, out)
                    assert_close(out, want, 2, 80 * ATOL)


@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
@pytest.mark.parametrize("word", [*UNARY, *BINARY])
def test_rounded_between(dtype: torch.dtype, word: str) -> None:
    """By default the product is of the result's type before what follows; whole numbers have no ties to fall."""
    x1, x2 = make((70, 17), dtype).round(), make((17, 300), dtype, 1).round()
    z = (x1.double() @ x2.double() + 1 / 3).to(dtype).double()
    bias, out = torch.full((300,), 1 / 3), torch.empty(70, 300, dtype=dtype)
    x3 = make((70, 300), dtype, 2) if word in BINARY else None
    want = UNARY[word](z) if x3 is None else BINARY[word](z, x3.double())
    call("aclnnFusedMatmul", x1, x2, bias, x3, word, 0, out)
    assert_close(out, want, 1, 1e-30 if word == "mul" else 1e-6)


def test_widened() -> None:
    for dtype in (torch.bfloat16, torch.float16):
        x1, x2, out = make((5, 17), dtype), make((17, 6), dtype, 1), torch.empty(5, 6)
        call("aclnnFusedMatmul", x1, x2, None, None, "16cast32", 0, out)
        assert_close(out, x1.double() @ x2.double(), 2, 17 * ATOL)


def test_third_operand_in_the_memory_of_the_result() -> None:
    x1, x2, y = make((5, 17), torch.float32), make((17, 6), torch.float32, 1), make((5, 6), torch.float32, 2)
    want = x1.double() @ x2.double() + y.double()
    call("aclnnFusedMatmul", x1, x2, None, y, "add", 0, y)
    assert_close(y, want, 2, 17 * ATOL)


def test_empty_and_no_numbers() -> None:
    out = torch.empty(0, 4)
    call("aclnnFusedMatmul", torch.ones(0, 3), torch.ones(3, 4), None, None, "relu", 0, out)
    out = torch.full((2, 4), 9.0)
    bias = torch.tensor([1.0, -1, math.nan, math.inf])
    call("aclnnFusedMatmul", torch.ones(2, 0), torch.ones(0, 4), bias, None, "relu", 0, out)
    assert out[0, :2].tolist() == [1, 0] and out[1, 2].isnan() and out[1, 3] == math.inf


def test_bad_input() -> None:
    a, b, y = torch.ones(2, 3), torch.ones(3, 4), torch.ones(2, 4)

    def refused(match: str, *args: object) -> None:
        with pytest.raises(OperatorError, match=f"aclnnFusedMatmul: {match}"):
            call("aclnnFusedMatmul", *args)

    refused("x1 is null", None, b, None, None, "", 0, y)
    refused("x2 is null", a, None, None, None, "", 0, y)
    refused("y is null", a, b, None, None, "", 0, None)
    refused("fusedOpType is null", a, b, None, None, None, 0, y)
    refused("fusedOpType is 'silu', wanted '', 16cast32", a, b, None, None, "silu", 0, y)
    refused("x3 is null with fusedOpType add", a, b, None, None, "add", 0, y)
    refused("x3 is float32\\[2,4\\], wanted none", a, b, None, y, "relu", 0, y)
    refused("x3 is float32\\[3,4\\], which does not broadcast to y", a, b, None, b, "mul", 0, y)
    refused("x3 is int32", a, b, None, y.int(), "mul", 0, y)
    refused("bias is float32\\[3\\], which does not broadcast", a, b, torch.ones(3), None, "", 0, y)
    refused("x1 is float64", a.double(), b, None, None, "", 0, y)
    refused("y is float32\\[2,3\\], wanted the shape of the product", a, b, None, None, "", 0, a)
    refused("x1 float32\\[2,3\\] and x2 float32\\[2,4\\] cannot be multiplied", a, y, None, None, "", 0, y)
    refused(
        "y is float16\\[2,4\\], wanted float32 with", a.half(), b.half(), None, None, "16cast32", 0, y.half()
    )
    refused("cubeMathType is 9", a, b, None, None, "", 9, y)
