# SPDX-License-Identifier: Apache-2.0
"""Quantisation with given scales, and back: aclnnAscendQuant, aclnnQuantize, aclnnAscendAntiQuant,
aclnnDequantBias and the packed scales of aclnnTransQuantParam."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from aclnn import OperatorError, call
from compare import assert_close, layouts, make
from quant_cases import FLOATS, INT4, INT8, pack, to_range, unpack

SHAPES = ((8,), (3, 8), (2, 5, 24), (7, 1032), (2, 3, 4, 40), (16, 128))
ROUNDINGS = {"round": torch.round, "floor": torch.floor, "ceil": torch.ceil, "trunc": torch.trunc}


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("limits", [INT8, INT4], ids=["int8", "int4"])
def test_ascend_quant(dtype: torch.dtype, limits: tuple[int, int]) -> None:
    for shape in SHAPES:
        for axis in (-1, -2) if len(shape) > 1 else (-1,):
            along = [1] * len(shape)
            along[axis] = shape[axis]
            for sizes in ((1,), (shape[axis],), tuple(along)):
                scale, offset = make(sizes, dtype, 1, -20, 20), make(sizes, dtype, 2, -20, 20)
                for _, x in layouts(make(shape, dtype)):
                    for by, squared in ((offset, False), (None, True)):
                        s = scale.float().reshape(along if scale.numel() > 1 else (1,))
                        o = 0 if by is None else by.float().reshape(along if by.numel() > 1 else (1,))
                        want = to_range(x.float() * (s * s if squared else s) + o, limits)
                        y = torch.zeros(shape, dtype=torch.int8)
                        if limits == INT4:
                            y = torch.zeros(*shape[:-1], shape[-1] // 8, dtype=torch.int32)
                        call(
                            "aclnnAscendQuantV3",
                            x,
                            scale,
                            by,
                            squared,
                            "round",
                            2 if limits == INT8 else 3,
                            axis,
                            y,
                        )
                        assert torch.equal(y if limits == INT8 else unpack(y), want.to(torch.int8))


@pytest.mark.parametrize("mode", ROUNDINGS)
def test_rounding_modes(mode: str) -> None:
    x = torch.arange(-600, 600).float().view(3, 400) / 4
    y = torch.zeros(3, 400, dtype=torch.int8)
    call("aclnnAscendQuant", x, torch.ones(1), None, False, mode, 2, y)
    assert torch.equal(y, ROUNDINGS[mode](x).clamp(-128, 127).to(torch.int8))


def test_ascend_quant_refusals() -> None:
    x, one, y = torch.zeros(4, 8), torch.ones(1), torch.zeros(4, 8, dtype=torch.int8)
    for text, args in {
        "roundMode is 'up'": (x, one, None, False, "up", 2, -1, y),
        "axis is -3": (x, one, None, False, "round", 2, -3, y),
        "scale is float32\\[3\\]": (x, torch.ones(3), None, False, "round", 2, -1, y),
        "offset is float32\\[4\\]": (x, one, torch.ones(4), False, "round", 2, -1, y),
        "scale is int32": (x, one.int(), None, False, "round", 2, -1, y),
        "dstType is 4": (x, one, None, False, "round", 4, -1, y),
    }.items():
        with pytest.raises(OperatorError, match=text):
            call("aclnnAscendQuantV3", *args)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("result", [torch.int8, torch.uint8, torch.int32], ids=str)
def test_quantize(dtype: torch.dtype, result: torch.dtype) -> None:
    limits = (torch.iinfo(result).min, torch.iinfo(result).max)
    for shape in SHAPES:
        for axis in range(len(shape)):
            along = [1] * len(shape)
            along[axis] = shape[axis]
            for sizes in ((1,), (shape[axis],)):
                scale = make(sizes, torch.float32, 1, 0.01, 0.2)
                for zeros in (
                    None,
                    make(sizes, torch.int32, 2),
                    make(sizes, torch.int8, 3),
                    make(sizes, torch.bfloat16, 4).round(),
                ):
                    for _, x in layouts(make(shape, dtype)):
                        s, z = (
                            0 if t is None else t.double().reshape(along if t.numel() > 1 else (1,))
                            for t in (scale, zeros)
                        )
                        want = ((x.double() / s).round() + z).clamp(*limits).to(result)
                        y = torch.zeros(shape, dtype=result)
                        call("aclnnQuantize", x, scale, zeros, result, axis, y)
                        assert torch.equal(y, want)


def test_quantize_like_pytorch() -> None:
    x, scale, zero = (
        make((5, 6, 7), torch.float32),
        make((6,), torch.float32, 1, 0.01, 0.2).double(),
        torch.arange(6),
    )
    for quantised, result in (
        (torch.qint8, torch.int8),
        (torch.quint8, torch.uint8),
        (torch.qint32, torch.int32),
    ):
        want = torch.quantize_per_channel(x, scale, zero, 1, quantised).int_repr()
        y = torch.zeros(x.shape, dtype=result)
        call("aclnnQuantize", x, scale.float(), zero.int(), torch.int32, 1, y)
        assert (y.long() - want.long()).abs().max() <= 1 and y.ne(want).float().mean() < 0.02


def test_quantize_wide() -> None:
    """int32 has values that no float32 has, and limits."""
    x = torch.tensor([1e9, -1e9, 3e9, -3e9, float("nan"), float("inf")])
    y = torch.zeros(6, dtype=torch.int32)
    call("aclnnQuantize", x, torch.ones(1), torch.tensor([3], dtype=torch.int32), torch.int32, 0, y)
    assert y.tolist() == [1000000003, -999999997, 2**31 - 1, -(2**31), 0, 2**31 - 1]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_anti_quant(dtype: torch.dtype) -> None:
    numbers = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 27}
    for shape in SHAPES:
        for packed in (False, True):
            g = torch.Generator().manual_seed(1)
            values = torch.randint(*((-8, 8) if packed else (-128, 128)), shape, generator=g)
            given = pack(values) if packed else values.to(torch.int8)
            for sizes in ((1,), shape[-1:]):
                scale, offset = make(sizes, torch.float32, 1), make(sizes, torch.float32, 2)
                for _, x in layouts(given):
                    for by, squared in ((offset, False), (None, True)):
                        y = torch.zeros(shape, dtype=dtype)
                        call("aclnnAscendAntiQuant", x, scale, by, numbers[dtype], squared, y)
                        s, o = scale.double(), 0 if by is None else by.double()
                        assert_close(y, (values + o) * (s * s if squared else s), 2, 1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_dequant_bias(dtype: torch.dtype) -> None:
    m, n = 37, 1030
    x = torch.randint(-(2**20), 2**20, (m, n), dtype=torch.int32, generator=torch.Generator().manual_seed(0))
    weight, rows = make((n,), torch.float32, 1, 1e-5, 1e-4), make((m,), torch.float32, 2, 0.1, 1)
    whole = torch.randint(-(2**20), 2**20, (n,), dtype=torch.int32)
    number = 1 if dtype == torch.float16 else 27
    for by in (None, rows):
        for bias in (None, whole, make((n,), torch.float32, 3), make((n,), dtype, 4)):
            factor = weight.double() * (1 if by is None else by.double()[:, None])
            want = x.double() * factor
            if bias is not None:
                want = (x.double() + bias.double()) * factor if bias is whole else want + bias.double()
            for _, given in layouts(x):
                y = torch.zeros(m, n, dtype=dtype)
                call("aclnnDequantBias", given, weight, by, bias, number, y)
                assert_close(y, want, 1, 1e-4)
    with pytest.raises(OperatorError, match="weightScale is float32\\[3\\]"):
        call("aclnnDequantBias", x, torch.ones(3), None, None, number, torch.zeros(m, n, dtype=dtype))


def packed_scale(scale: np.ndarray, offset: np.ndarray, rounded: bool) -> np.ndarray:
    bits = scale.view(np.uint32).astype(np.uint64)
    if rounded:
        bits += np.uint64(0xFFF) + ((bits >> np.uint64(13)) & np.uint64(1))
    whole = np.clip(np.round(offset), -256, 255).astype(np.int64).astype(np.uint64) & np.uint64(0x1FF)
    return (bits & np.uint64(0xFFFFE000)) | (whole << np.uint64(37)) | np.uint64(1 << 46)


@pytest.mark.parametrize("mode", [0, 1])
def test_trans_quant_param(mode: int) -> None:
    for sizes in ((1,), (33,), (1, 33)):
        scale, offset = make(sizes, torch.float32, 1), make(sizes, torch.float32, 2, -300, 300)
        for by in (None, offset):
            out = torch.zeros(sizes, dtype=torch.int64)
            call("aclnnTransQuantParamV3", scale, by, mode, out)
            o = np.zeros(sizes, np.float32) if by is None else by.numpy()
            assert np.array_equal(out.numpy().view(np.uint64), packed_scale(scale.numpy(), o, mode == 1))
            if mode == 0:
                again = torch.zeros(sizes, dtype=torch.uint64)
                call("aclnnTransQuantParamV2", scale, by, again)
                assert np.array_equal(again.numpy(), out.numpy().view(np.uint64))
    out = torch.zeros(4, dtype=torch.int64)
    call("aclnnTransQuantParamV3", torch.ones(1), torch.arange(4.0), mode, out)
    assert ((out >> 37) & 511).tolist() == [0, 1, 2, 3]
    with pytest.raises(OperatorError, match="roundMode is 2"):
        call("aclnnTransQuantParamV3", torch.ones(1), None, 2, torch.zeros(1, dtype=torch.int64))
