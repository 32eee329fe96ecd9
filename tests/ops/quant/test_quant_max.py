# SPDX-License-Identifier: Apache-2.0
"""Floats of a byte by a given scale, with the largest magnitude of x: the definition in float64."""

from __future__ import annotations

import math

import pytest
import torch
from aclnn import HIFLOAT8, OperatorError, Typed, call
from compare import layouts, make
from narrow import E4M3, E5M2, decode, encode, hif8_value
from quant_cases import FLOATS

LARGEST = {E4M3: 448.0, E5M2: 57344.0, HIFLOAT8: 32768.0}
HIF8 = torch.tensor([hif8_value(c) for c in range(256)], dtype=torch.float64)


def word(dtype: int) -> str:
    return "round" if dtype == HIFLOAT8 else "rint"


def check_codes(codes: torch.Tensor, exact: torch.Tensor, dtype: int) -> None:
    """The float32 quotient rounded once."""
    if dtype != HIFLOAT8:
        assert torch.equal(codes, encode(exact.float().clamp(-LARGEST[dtype], LARGEST[dtype]), dtype))
        return
    table = HIF8[HIF8.isfinite() & (HIF8.abs() <= LARGEST[dtype])].unique()
    got = HIF8[codes.long()]
    want = exact.float().double().clamp(-LARGEST[dtype], LARGEST[dtype])
    nearest = (want[..., None] - table).abs().amin(-1)
    assert torch.equal((got - want).abs(), nearest)


@pytest.mark.parametrize("dtype", list(LARGEST))
@pytest.mark.parametrize("source", FLOATS, ids=str)
def test_one_scale(dtype: int, source: torch.dtype) -> None:
    scale = torch.tensor([0.037])
    for shape in ((1,), (33,), (8, 256), (3, 17, 65), (2, 3, 4, 5)):
        for _, x in layouts(make(shape, source) * 9):
            y = Typed(torch.full(shape, 99, dtype=torch.uint8), dtype)
            amax = torch.full((1,), 99, dtype=source)
            call("aclnnQuantMax", x, scale, word(dtype), dtype, y, amax)
            assert torch.equal(amax, x.abs().max().reshape(1))
            check_codes(y.bytes, x.float() / scale, dtype)


@pytest.mark.parametrize("dtype", list(LARGEST))
@pytest.mark.parametrize("source", FLOATS, ids=str)
def test_groups(dtype: int, source: torch.dtype) -> None:
    """Empty groups have 0."""
    ends = torch.tensor([2, 2, 5, 7])
    scale = torch.tensor([0.5, 7.0, 0.25, 2.0])
    of_row = torch.bucketize(torch.arange(7), ends, right=True)
    for shape in ((7, 33), (7, 5, 6), (7, 2, 3, 9)):
        for _, x in layouts(make(shape, source)):
            for index in (ends, ends.int()):
                y = Typed(torch.full((*shape[:-1], 2 * shape[-1]), 99, dtype=torch.uint8)[..., ::2], dtype)
                amax = torch.full((8,), 99, dtype=source)[::2]
                call("aclnnGroupedQuantMax", x, scale, index, word(dtype), dtype, y, amax)
                want = [
                    x[of_row == g].abs().amax() if (of_row == g).any() else x.new_zeros(()) for g in range(4)
                ]
                assert torch.equal(amax, torch.stack(want))
                check_codes(y.bytes, x.float() / scale[of_row].reshape(-1, *[1] * (len(shape) - 1)), dtype)


def test_special_values() -> None:
    x = torch.tensor([[0.0, -0.0, 1.0, -1e30], [math.inf, 1, 2, 3], [1, math.nan, 2, 3]])
    y, amax = Typed(torch.empty(3, 4, dtype=torch.uint8), E4M3), torch.empty(3)
    call("aclnnGroupedQuantMax", x, torch.ones(3), torch.tensor([1, 2, 3]), "rint", E4M3, y, amax)
    assert amax[0] == 1e30 and amax[1] == math.inf and amax[2].isnan()
    values = decode(y.bytes, E4M3)
    assert (
        values[0].tolist() == [0, 0, 1, -448]
        and values[1].tolist() == [448, 1, 2, 3]
        and values[2, 1].isnan()
    )
    empty = Typed(torch.empty(0, 4, dtype=torch.uint8), E4M3)
    call("aclnnQuantMax", torch.empty(0, 4), torch.ones(1), "rint", E4M3, empty, amax[:1])
    assert amax[0] == 0


def test_bad_input() -> None:
    x, one, amax = torch.ones(4, 8), torch.ones(1), torch.ones(1)
    y = Typed(torch.empty(4, 8, dtype=torch.uint8), E4M3)

    def refused(match: str, *args: object, operator: str = "QuantMax") -> None:
        with pytest.raises(OperatorError, match=f"aclnn{operator}: {match}"):
            call(f"aclnn{operator}", *args)

    refused("x is null", None, one, "rint", E4M3, y, amax)
    refused("x is int32", x.int(), one, "rint", E4M3, y, amax)
    refused("scale is float32\\[2\\], wanted 1 elements", x, torch.ones(2), "rint", E4M3, y, amax)
    refused("roundMode is 'round', wanted rint", x, one, "round", E4M3, y, amax)
    refused("roundMode is null", x, one, None, E4M3, y, amax)
    refused("dstType is 35", x, one, "rint", E5M2, y, amax)
    refused("y is int8", x, one, "rint", 2, torch.empty(4, 8, dtype=torch.int8), amax)
    refused("y is null", x, one, "rint", E4M3, None, amax)
    refused("amax is null", x, one, "rint", E4M3, y, None)
    refused("amax is float32\\[2\\], wanted 1", x, one, "rint", E4M3, y, torch.ones(2))
    grouped = {"operator": "GroupedQuantMax"}
    two, ends = torch.ones(2), torch.tensor([2, 4])
    refused("groupList is null", x, two, None, "rint", E4M3, y, two, **grouped)
    refused("groupList is float32", x, two, two, "rint", E4M3, y, two, **grouped)
    refused("groupList\\[1\\] is 3, wanted 4", x, two, torch.tensor([2, 3]), "rint", E4M3, y, two, **grouped)
    refused("x is float32\\[8\\], wanted two dimensions", x[0], two, ends, "rint", E4M3, y, two, **grouped)
