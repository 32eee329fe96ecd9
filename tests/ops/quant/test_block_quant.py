# SPDX-License-Identifier: Apache-2.0
"""Scales of blocks of rows and columns, and of groups of rows: float32 formulas, bit by bit."""

from __future__ import annotations

import pytest
import torch
from aclnn import HIFLOAT8, OperatorError, Typed, call
from compare import layouts, make
from narrow import E2M1, E4M3, E5M2, mx_quantise, mx_values, pack4
from quant_cases import FLOATS, INT8, to_range

LARGEST = {2: 127.0, E4M3: 448.0, E5M2: 57344.0, HIFLOAT8: 32768.0}


def reference(
    x: torch.Tensor, dtype: int, block: tuple[int, int], low: float, top: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """y as bytes, and scales; a matrix."""
    rows, columns = x.shape
    down, across = -(-rows // block[0]), -(-columns // block[1])
    filled = torch.nn.functional.pad(x.float(), (0, across * block[1] - columns, 0, down * block[0] - rows))
    largest = filled.view(down, block[0], across, block[1]).abs().amax((1, 3))
    scale = (largest / top).clamp(min=low)
    full = scale.repeat_interleave(block[0], 0)[:rows].repeat_interleave(block[1], 1)[:, :columns]
    wide = x.float() / torch.where(full == 0, 1.0, full)
    if dtype == 2:
        return to_range(wide, INT8).to(torch.int8).view(torch.uint8), scale
    y = torch.empty(x.shape, dtype=torch.uint8)
    call("aclnnCast", wide.clamp(-top, top), dtype, Typed(y, dtype))
    return y, scale


@pytest.mark.parametrize("dtype", list(LARGEST))
@pytest.mark.parametrize("block", [(1, 128), (128, 128), (3, 5)])
def test_blocks(dtype: int, block: tuple[int, int]) -> None:
    for source in FLOATS:
        for shape in ((1, 1), (130, 300), (2, 129, 140), (0, 4)):
            for _, x in layouts(make(shape, source)):
                for low, chosen in ((0.0, 0.0), (0.02, 15.0 if dtype == HIFLOAT8 else 0.0)):
                    top = chosen or LARGEST[dtype]
                    kept = (-(-shape[-2] // block[0]), -(-shape[-1] // block[1]))
                    y = torch.full(shape, 99, dtype=torch.uint8)
                    scale = torch.full((*shape[:-2], *kept), -1.0)
                    call(
                        "aclnnDynamicBlockQuantV2",
                        x,
                        low,
                        "rint",
                        dtype,
                        *block,
                        chosen,
                        Typed(y, dtype),
                        scale,
                    )
                    for i, part in enumerate(x if x.dim() == 3 else [x]):
                        want = reference(part, dtype, block, low, top)
                        got = (y[i], scale[i]) if x.dim() == 3 else (y, scale)
                        assert torch.equal(got[0], want[0]) and torch.equal(got[1], want[1])


@pytest.mark.parametrize("index", [torch.int32, torch.int64], ids=str)
def test_groups(index: torch.dtype) -> None:
    """Blocks of a group's own; scales of group g begin at row first / 128 + g."""
    x, ends = make((700, 130), torch.bfloat16), [0, 130, 130, 430, 700]
    y, scale = torch.full(x.shape, 99, dtype=torch.uint8), torch.full((700 // 128 + 5, 2), -1.0)
    want_scale = torch.zeros_like(scale)
    groups = torch.tensor(ends, dtype=index)
    call(
        "aclnnGroupedDynamicBlockQuantV2",
        x,
        groups,
        0.0,
        "rint",
        E4M3,
        128,
        128,
        0,
        0.0,
        Typed(y, E4M3),
        scale,
    )
    for g, (first, end) in enumerate(zip([0, *ends], ends, strict=False)):
        if end > first:
            want, part = reference(x[first:end], E4M3, (128, 128), 0.0, 448.0)
            assert torch.equal(y[first:end], want)
            want_scale[first // 128 + g :][: len(part)] = part
    assert torch.equal(scale, want_scale)


def test_first_versions() -> None:
    """Without a largest value of the caller's."""
    x, ends = make((300, 130), torch.bfloat16), torch.tensor([128, 300])
    y, scale = torch.full(x.shape, 99, dtype=torch.uint8), torch.full((3, 2), -1.0)
    call("aclnnDynamicBlockQuant", x, 0.0, "rint", E5M2, 128, 128, Typed(y, E5M2), scale)
    want = reference(x, E5M2, (128, 128), 0.0, LARGEST[E5M2])
    assert torch.equal(y, want[0]) and torch.equal(scale, want[1])
    scale = torch.full((300 // 128 + 2, 2), -1.0)
    call("aclnnGroupedDynamicBlockQuant", x, ends, 0.0, "rint", E5M2, 128, 128, 0, Typed(y, E5M2), scale)
    assert torch.equal(y, want[0])  # the groups begin where blocks do
    assert torch.equal(scale[:1], want[1][:1]) and torch.equal(scale[2:], want[1][1:])


@pytest.mark.parametrize("dtype", [E4M3, E2M1])
def test_mx_groups(dtype: int) -> None:
    four = dtype == E2M1
    x, ends = make((300, 66), torch.float16), [40, 40, 210, 300]
    y = torch.full((300, 33 if four else 66), 99, dtype=torch.uint8)
    scale = torch.full((300 // 64 + 4, 66, 2), 9, dtype=torch.uint8)
    want_scale = torch.zeros_like(scale)
    groups = torch.tensor(ends, dtype=torch.int32)
    call(
        "aclnnGroupedDynamicMxQuantV2",
        x,
        groups,
        "rint",
        dtype,
        32,
        0,
        0.0,
        Typed(y, dtype),
        Typed(scale, 37),
    )
    for g, (first, end) in enumerate(zip([0, *ends], ends, strict=False)):
        if end > first:
            codes, part = mx_quantise(x[first:end], dtype, 0)
            assert torch.equal(y[first:end], pack4(codes) if four else codes)
            want_scale[first // 64 + g :][: len(part)] = part
    assert torch.equal(scale, want_scale)
    for bad in ([40, 30, 210, 300], [40, 40, 210, 299], [-1, 40, 210, 300]):
        with pytest.raises(OperatorError, match="groupIndex"):
            call(
                "aclnnGroupedDynamicMxQuant",
                x,
                torch.tensor(bad),
                "rint",
                dtype,
                32,
                Typed(y, dtype),
                Typed(scale, 37),
            )


@pytest.mark.parametrize("dtype", [E4M3, E5M2, E2M1])
@pytest.mark.parametrize("out", FLOATS, ids=str)
def test_mx_back(dtype: int, out: torch.dtype) -> None:
    for shape in ((3, 70), (2, 100, 6), (1, 32)):
        for axis in range(-1, len(shape) - 1):
            codes, scale = mx_quantise(make(shape, torch.float32), dtype, axis)
            x = Typed(pack4(codes) if dtype == E2M1 else codes, dtype)
            y = torch.empty(shape, dtype=out)
            number = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 27}[out]
            call("aclnnAntiMxQuant", x, Typed(scale, 37), axis, number, y)
            assert torch.equal(y, mx_values(codes, scale, dtype, axis).to(out))


def test_accumulated_products() -> None:
    a, s1 = mx_quantise(make((10, 64), torch.float32, 1), E4M3)
    b, s2 = mx_quantise(make((12, 64), torch.float32, 2), E4M3)
    start = make((10, 12), torch.float32, 3)
    y = start.clone()
    call(
        "aclnnQuantBatchMatmulInplaceAdd", Typed(a, E4M3), Typed(b.t(), E4M3), Typed(s1, 37),
        Typed(s2.transpose(0, 1), 37), y, False, False, (1 << 32) + (1 << 16) + 32,
    )  # fmt: skip
    want = start.double() + mx_values(a, s1, E4M3) @ mx_values(b, s2, E4M3).t()
    assert torch.allclose(y.double(), want, rtol=1e-6, atol=1e-4)


def test_bad_input() -> None:
    x, scale = make((4, 64), torch.float32), torch.empty(4, 1)
    y = torch.empty(4, 64, dtype=torch.float8_e4m3fn)

    def refused(match: str, *args: object) -> None:
        with pytest.raises(OperatorError, match=match):
            call("aclnnDynamicBlockQuant", *args)

    refused("roundMode is 'floor'", x, 0.0, "floor", E4M3, 1, 128, y, scale)
    refused("minScale is -1", x, -1.0, "rint", E4M3, 1, 128, y, scale)
    refused("rowBlockSize and colBlockSize are 0", x, 0.0, "rint", E4M3, 0, 128, y, scale)
    refused("scaleOut is", x, 0.0, "rint", E4M3, 1, 32, y, scale)
    refused("dstType is 35", x, 0.0, "rint", E5M2, 1, 128, y, scale)
    refused("x is", x[0], 0.0, "rint", E4M3, 1, 128, y[0], scale)
