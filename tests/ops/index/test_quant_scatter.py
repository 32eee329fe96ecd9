# SPDX-License-Identifier: Apache-2.0
"""Updates quantised on their way into a cache: the quotient rounded, and what is not covered kept."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from aclnn import HIFLOAT8, OperatorError, Typed, call
from compare import layouts, make
from narrow import E4M3, E5M2, encode, hif8_value
from quant_cases import FLOATS

INT8 = 2
SHAPE = (5, 7, 3, 16)
HIF8 = torch.tensor([hif8_value(c) for c in range(256)], dtype=torch.float64)


def run(
    data: Any,
    indices: torch.Tensor,
    updates: torch.Tensor,
    scale: Any,
    zero: Any,
    axis: int,
    mode: str | None,
    **change: Any,
) -> None:
    given = {"quant_axis": -1, "reduction": 1} | change
    name = "aclnnInplaceQuantScatter" + ("" if mode is None else "V2")
    call(name, data, indices, updates, scale, zero, axis, *given.values(), *([] if mode is None else [mode]))


def check(got: torch.Tensor, exact: torch.Tensor, dtype: int) -> None:
    """Integers but for what float32 makes of ties; floats of a byte are the nearest."""
    if dtype == INT8:
        assert ((got.view(torch.int8).double() - exact.double().clamp(-128, 127)).abs() <= 0.5 + 1e-4).all()
    elif dtype == HIFLOAT8:
        near = (exact.double()[..., None] - HIF8[HIF8.isfinite()].unique()).abs().amin(-1)
        assert ((HIF8[got.long()] - exact.double()).abs() == near).all()
    else:
        assert torch.equal(got, encode(exact, dtype))


@pytest.mark.parametrize("source", FLOATS, ids=str)
@pytest.mark.parametrize("dtype", [INT8, E4M3, E5M2, HIFLOAT8])
@pytest.mark.parametrize("kind", [torch.int32, torch.int64], ids=str)
@pytest.mark.parametrize("pairs", [False, True])
def test_updates(source: torch.dtype, dtype: int, kind: torch.dtype, pairs: bool) -> None:
    first, batch = [4, 0, 2], [3, 0, 1] if pairs else [0, 1, 2]
    indices = torch.tensor(list(zip(batch, first, strict=True)) if pairs else first, dtype=kind)
    for count in (16, 1):
        scale, zero = make((count,), torch.float32, 1, 0.05, 0.1), make((count,), torch.float32, 2).round()
        for given_zero in (None, zero, zero.int()):
            for _, updates in layouts(make((3, 2, 3, 16), source)):
                for _, room in layouts(torch.full(SHAPE, 77, dtype=torch.uint8)):
                    data = room.view(torch.int8) if dtype == INT8 else Typed(room, dtype)
                    modes = (None, "rint") if dtype == INT8 else ("round" if dtype == HIFLOAT8 else "rint",)
                    for mode in modes:
                        room.fill_(77)
                        run(data, indices, updates, scale, given_zero, 1, mode)
                        kept = torch.ones(SHAPE, dtype=torch.bool)
                        for i, (b, f) in enumerate(zip(batch, first, strict=True)):
                            kept[b, f : f + 2] = False
                            exact = updates[i].float() / scale + (0 if given_zero is None else zero)
                            check(room[b, f : f + 2], exact, dtype)
                        assert room[kept].eq(77).all()


def test_refusals() -> None:
    data, updates, scale = torch.zeros(4, 6, 8, dtype=torch.int8), torch.ones(2, 1, 8), torch.ones(8)
    indices = torch.tensor([1, 5])

    def refused(match: str, **change: Any) -> None:
        given = {
            "data": data,
            "indices": indices,
            "updates": updates,
            "scale": scale,
            "zero": None,
            "axis": 1,
            "mode": "rint",
        }
        with pytest.raises(OperatorError, match=f"aclnnInplaceQuantScatter(V2)?: {match}"):
            run(**(given | change))

    refused("selfRef is null", data=None)
    refused("indices is null", indices=None)
    refused("updates is null", updates=None)
    refused("quantScales is null", scale=None)
    refused("selfRef is float32.*wanted int8", data=data.float())
    refused("updates is int32", updates=updates.int())
    refused("updates is float32\\[2,1,8\\], selfRef is int8\\[4,6,4\\]", data=data[..., :4])
    refused("axis is 0", axis=0)
    refused("quantAxis is 1", quant_axis=1)
    refused("reduction is 2", reduction=2)
    refused("roundMode is 'floor', wanted rint", mode="floor")
    refused("quantScales is float32\\[3\\], wanted 1 or 8", scale=torch.ones(3), mode=None)
    refused("quantZeroPoints is int64", zero=torch.ones(8, dtype=torch.int64))
    refused(
        "index 6 at position \\[1\\] of indices is out of range: along axis", indices=torch.tensor([1, 6])
    )
    refused(
        "index 4 at position \\[0\\] of indices is out of range: batch",
        indices=torch.tensor([[4, 0], [0, 0]]),
    )
    assert data.eq(0).all()
