# SPDX-License-Identifier: Apache-2.0
"""Products with weights of int8 and int4, against float64: scales of the tensor, of columns and of groups."""

from __future__ import annotations

import pytest
import torch
from aclnn import OperatorError, call
from compare import assert_close, layouts, make
from quant_cases import FLOATS, INT4, INT8, pack

NAME = "aclnnWeightQuantBatchMatmulV2"
# m, k, n: one row, odd numbers of columns, more than one block of columns.
SIZES = ((1, 64, 8), (5, 72, 16), (33, 200, 136), (3, 96, 1040), (2, 130, 24))


def weights(k: int, n: int, limits: tuple[int, int], *batch: int) -> torch.Tensor:
    g = torch.Generator().manual_seed(k + n)
    return torch.randint(limits[0], limits[1] + 1, (*batch, k, n), generator=g, dtype=torch.int8)


def stored(w: torch.Tensor, limits: tuple[int, int]) -> list[torch.Tensor]:
    """In every way that a weight may lie in memory."""
    turned = w.transpose(-1, -2).contiguous()
    if limits == INT4:
        ways = [pack(w)]
        return ways + ([pack(turned).transpose(-1, -2)] if w.shape[-2] % 8 == 0 else [])
    return [w, turned.transpose(-1, -2), list(layouts(w))[2][1]]


def reference(
    x: torch.Tensor, w: torch.Tensor, scale: torch.Tensor, offset: torch.Tensor | None, group: int = 0
) -> torch.Tensor:
    spread = [None if t is None else t.double() for t in (scale, offset)]
    if group:
        spread = [None if t is None else t.repeat_interleave(group, 0)[: w.shape[-2]] for t in spread]
    return x.double() @ ((w.double() + (0 if offset is None else spread[1])) * spread[0])


@pytest.mark.parametrize("limits", [INT8, INT4], ids=["int8", "int4"])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_products(dtype: torch.dtype, limits: tuple[int, int]) -> None:
    for m, k, n in SIZES:
        w = weights(k, n, limits)
        for group in (0, 32, 64):
            shapes = [(-(-k // group), n)] if group else [(1,), (n,), (1, n)]
            for shape in shapes:
                scale, offset = make(shape, dtype, 1, 0.001, 0.01), make(shape, dtype, 2, -3, 3)
                bias = make((n,), torch.float32 if dtype == torch.bfloat16 else dtype, 4)
                for _, x in layouts(make((m, k), dtype)):
                    for at in (None, offset):
                        want = reference(x, w, scale, at, group)
                        for weight in stored(w, limits):
                            y = torch.full((m, n), 7, dtype=dtype)
                            call(NAME, x, weight, scale, at, None, None, None, group, y)
                            assert_close(y, want, 2, 1e-4)
                            call(
                                NAME.replace("V2", "V3"), x, weight, scale, at, None, None, bias, group, 1, y
                            )
                            assert_close(y, want + bias.double(), 2, 1e-4)


def test_scales_of_a_transpose() -> None:
    """[n, groups] seen as [groups, n], as clients have it beside a transposed weight."""
    w, x = weights(128, 24, INT8), make((4, 128), torch.float16)
    scale = make((24, 4), torch.float16, 1, 0.001, 0.01).t()
    y = torch.zeros(4, 24, dtype=torch.float16)
    call(NAME, x, w.t().contiguous().t(), scale, None, None, None, None, 32, y)
    assert_close(y, reference(x, w, scale, None, 32), 2, 1e-4)


@pytest.mark.parametrize("batches", [((2, 3), (2, 3)), ((2, 3), ()), ((), (3,))], ids=str)
def test_batches(batches: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    x, w = make((*batches[0], 5, 64), torch.bfloat16), weights(64, 16, INT8, *batches[1])
    scale = make((16,), torch.bfloat16, 1, 0.001, 0.01)
    for _, a in layouts(x):
        for weight in stored(w, INT8):
            want = reference(a, w, scale, None)
            y = torch.zeros(want.shape, dtype=torch.bfloat16)
            call(NAME, a, weight, scale, None, None, None, None, 0, y)
            assert_close(y, want, 2, 1e-4)


def test_quantised_results() -> None:
    x, w = make((7, 96), torch.float16), weights(96, 40, INT8)
    scale = make((40,), torch.float16, 1, 0.001, 0.01)
    by, at = make((40,), torch.float32, 2, 5, 20), make((40,), torch.float32, 3, -20, 20)
    exact = reference(x, w, scale, None)
    packed, y = torch.zeros(40, dtype=torch.int64), torch.zeros(7, 40, dtype=torch.int8)
    call("aclnnTransQuantParamV2", by, at, packed)
    cut = (by.view(torch.int32) & -8192).view(torch.float32)
    for quant_scale, factor, offset in ((packed, cut, at.round()), (by, by, at)):
        call(NAME, x, w, scale, None, quant_scale, at, None, 0, y)
        want = exact * factor.double() + offset.double()
        error = (y.double() - want.clamp(-128, 127)).abs()
        assert error.max() <= 0.5 + 1e-3  # rounded from a float32 product


def test_empty_and_refusals() -> None:
    x, w, scale, y = (
        make((4, 64), torch.float16),
        weights(64, 16, INT8),
        torch.ones(16),
        torch.zeros(4, 16).half(),
    )
    call(NAME, x[:0], w, scale, None, None, None, None, 0, y[:0])

    def refused(text: str, group: int = 0, **change: object) -> None:
        given = {
            "x": x,
            "w": w,
            "scale": scale,
            "offset": None,
            "qs": None,
            "qo": None,
            "bias": None,
            "y": y,
        } | change
        with pytest.raises(OperatorError, match=text):
            call(
                NAME,
                *[given[k] for k in ("x", "w", "scale", "offset", "qs", "qo", "bias")],
                group,
                given["y"],
            )

    refused("x is int32", x=x.int())
    refused("weight is float16", w=w.half())
    refused("64 columns, 63 rows", w=w[:63])
    refused("wanted \\[2,16\\]", group=32)
    refused("antiquantGroupSize is -1", group=-1)
    refused("antiquantOffsetOptional is float32\\[1\\]", offset=torch.ones(1))
    refused("without quantScaleOptional", qo=torch.ones(1))
    refused("wanted int8 with", qs=torch.ones(1))
    refused("biasOptional is float32\\[4\\]", bias=torch.ones(4))
    refused("y is float16\\[4,15\\]", y=y[:, :15])
