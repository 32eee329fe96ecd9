# SPDX-License-Identifier: Apache-2.0
"""Products with weights of int8 and int4, against float64: scales of the tensor, of columns and of groups."""

from __future__ import annotations

import pytest
import torch
from aclnn import HIFLOAT8, OperatorError, Typed, call
from compare import assert_close, layouts, make
from narrow import CODES, E1M2, E2M1, E4M3, E5M2, decode, hif8_value, mx_quantise, mx_values, pack4
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


HIF8 = torch.tensor([hif8_value(c) for c in range(256)], dtype=torch.float64)
FP4 = {
    t: mx_values(
        torch.arange(16, dtype=torch.uint8).repeat(2)[None], torch.full((1, 1, 2), 127, dtype=torch.uint8), t
    )[0, :16]
    for t in (E2M1, E1M2)
}


def narrow_codes(k: int, n: int, dtype: int, *batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes of a weight and their values."""
    table = FP4[dtype] if dtype in FP4 else HIF8 if dtype == HIFLOAT8 else decode(CODES, dtype)
    usable = (table.isfinite() & (table.abs() < 8)).nonzero().flatten()
    g = torch.Generator().manual_seed(k + n)
    pick = usable[torch.randint(0, len(usable), (*batch, k, n), generator=g)]
    return pick.to(torch.uint8), table[pick]


def narrow_stored(codes: torch.Tensor, dtype: int) -> list[object]:
    """In every way that such a weight may lie in memory: fp4 also eight in a float32."""
    turned = codes.transpose(-1, -2).contiguous()
    if dtype not in FP4:
        return [Typed(t, dtype) for t in (codes, turned.transpose(-1, -2), list(layouts(codes))[2][1])]
    ways: list[object] = [Typed(pack4(codes), dtype)]
    if codes.shape[-2] % 2 == 0:
        ways.append(Typed(pack4(turned).transpose(-1, -2), dtype))
    if dtype == E2M1:
        ways.append(pack4(codes).view(torch.float32))
        if codes.shape[-2] % 8 == 0:
            ways.append(pack4(turned).view(torch.float32).transpose(-1, -2))
    return ways


@pytest.mark.parametrize("kind", [E4M3, E5M2, HIFLOAT8, E2M1, E1M2])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_narrow_weights(dtype: torch.dtype, kind: int) -> None:
    for m, k, n in SIZES:
        codes, values = narrow_codes(k, n, kind)
        x, bias = make((m, k), dtype), make((n,), torch.float32, 4)
        for group in (0, 32, 64):
            for shape in [(-(-k // group), n)] if group else [(1,), (1, n)]:
                scale = make(shape, dtype, 1, 0.001, 0.01)
                exponents = torch.randint(118, 122, shape, dtype=torch.uint8)
                powers = torch.exp2(exponents.double() - 127)
                for by, factor in ((scale, scale), (exponents, powers), (Typed(exponents, 37), powers)):
                    want = reference(x, values, factor, None, group) + bias.double()
                    for weight in narrow_stored(codes, kind):
                        y = torch.full((m, n), 7, dtype=dtype)
                        call(NAME, x, weight, by, None, None, None, bias, group, y)
                        assert_close(y, want, 2, 1e-4)


@pytest.mark.parametrize("kind", [E4M3, E2M1])
def test_batches_of_narrow_weights(kind: int) -> None:
    codes, values = narrow_codes(64, 16, kind, 2, 3)
    x, scale = make((2, 3, 5, 64), torch.float16), make((16,), torch.float16, 1, 0.001, 0.01)
    for weight in narrow_stored(codes, kind):
        y = torch.zeros(2, 3, 5, 16, dtype=torch.float16)
        call(NAME, x, weight, scale, None, None, None, None, 0, y)
        assert_close(y, reference(x, values, scale, None), 2, 1e-4)


def test_mx_weights_of_scales_along_rows() -> None:
    """[n, groups] of e8m0 seen as [groups, n], as quantisation along rows leaves them."""
    b, s = mx_quantise(make((24, 128), torch.float32), E4M3)
    x, y = make((4, 128), torch.float16, 1), torch.zeros(4, 24, dtype=torch.float16)
    scale = Typed(s.view(24, 4).t(), 37)
    call(NAME, x, Typed(b.t(), E4M3), scale, None, None, None, None, 32, y)
    assert_close(y, x.double() @ mx_values(b, s, E4M3).t(), 2, 1e-4)


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
    eight, four = Typed(w.view(torch.uint8), E4M3), Typed(w[:, :8].view(torch.uint8), E2M1)
    refused(
        "antiquantOffsetOptional is float32\\[16\\], wanted none with weight float8",
        w=eight,
        offset=torch.ones(16),
    )
    refused(
        "antiquantOffsetOptional is float32\\[16\\], wanted none with weight dtype",
        w=four,
        offset=torch.ones(16),
    )
    refused("antiquantGroupSize is 31, wanted an even number", w=four, group=31)
    refused("antiquantScale is uint8", scale=torch.ones(16, dtype=torch.uint8))
    refused("antiquantScale is float8_e8m0", scale=Typed(torch.ones(16, dtype=torch.uint8), 37))
    refused("weight is float8_e8m0", w=Typed(w.view(torch.uint8), 37))
    refused("y is float16\\[4,15\\]", y=y[:, :15])
