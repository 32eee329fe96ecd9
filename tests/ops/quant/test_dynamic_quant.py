# SPDX-License-Identifier: Apache-2.0
"""Dynamic quantisation, all versions and modes: the integers and scales are those of the formulas in float32."""

from __future__ import annotations

import pytest
import torch
from aclnn import HIFLOAT8, OperatorError, Typed, call
from compare import layouts, make, special_values
from quant_cases import FLOATS, INT4, INT8, pack, to_range

SHAPES = ((1, 1), (3, 8), (2, 5, 24), (7, 1032), (2, 3, 4, 40), (513, 72), (3, 17))


def reference(
    x: torch.Tensor, limits: tuple[int, int], symmetric: bool, dims: tuple[int, ...]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    low, high = limits
    if symmetric:
        scale = x.abs().amax(dims, keepdim=True) / high
        return to_range(x / scale, limits), scale, torch.zeros_like(scale)
    top = x.amax(dims, keepdim=True)
    scale = (top - x.amin(dims, keepdim=True)) / (high - low)
    offset = high - top / scale
    return to_range(x / scale + offset, limits), scale, offset


def outputs(shape: tuple[int, ...], limits: tuple[int, int]) -> torch.Tensor:
    if limits == INT8:
        return torch.full(shape, 99, dtype=torch.int8)
    return torch.full((*shape[:-1], shape[-1] // 8), 99, dtype=torch.int32)


def check(y: torch.Tensor, want: torch.Tensor, limits: tuple[int, int]) -> None:
    assert torch.equal(y, want.to(torch.int8) if limits == INT8 else pack(want))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("limits", [INT8, INT4], ids=["int8", "int4"])
def test_per_token(dtype: torch.dtype, limits: tuple[int, int]) -> None:
    for shape in SHAPES:
        if limits == INT4 and shape[-1] % 8:
            continue
        smooth = make(shape[-1:], dtype, 1, 0.5, 2)
        for _, x in layouts(make(shape, dtype)):
            for by in (None, smooth):
                wide = x.float() if by is None else x.float() * by.float()
                want, scale, _ = reference(wide, limits, True, (-1,))
                y, got = outputs(shape, limits), torch.empty(shape[:-1])
                call("aclnnDynamicQuant", x, by, y, got)
                check(y, want, limits)
                assert torch.equal(got, scale.squeeze(-1))
                want, scale, offset = reference(wide, limits, False, (-1,))
                y, got, shift = outputs(shape, limits), torch.empty(shape[:-1]), torch.empty(shape[:-1])
                call("aclnnDynamicQuantV2", x, by, None, 2 if limits == INT8 else 3, y, got, shift)
                check(y, want, limits)
                assert torch.equal(got, scale.squeeze(-1))
                assert torch.allclose(shift, offset.squeeze(-1), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("mode", ["pertoken", "perchannel", "pertensor"])
def test_modes(mode: str, version: int, symmetric: bool) -> None:
    for shape in SHAPES:
        for limits in (INT8, INT4):
            if limits == INT4 and shape[-1] % 8:
                continue
            dims, kept = {
                "pertoken": ((-1,), shape[:-1]),
                "perchannel": ((-2,), (*shape[:-2], shape[-1])),
                "pertensor": (tuple(range(len(shape))), (1,)),
            }[mode]
            smooth = make((shape[-2 if mode == "perchannel" else -1],), torch.float16, 1, 0.5, 2)
            for _, x in layouts(make(shape, torch.float16)):
                for by in (None, smooth):
                    factor = 1 if by is None else by.float()[:, None] if mode == "perchannel" else by.float()
                    want, scale, offset = reference(x.float() * factor, limits, symmetric, dims)
                    y, got, shift = outputs(shape, limits), torch.empty(kept), torch.empty(kept)
                    extra = [0.0] if version == 4 else []
                    dst = 2 if limits == INT8 else 29
                    call(
                        f"aclnnDynamicQuantV{version}", x, by, None, dst, symmetric, mode, *extra, y, got,
                        None if symmetric else shift,
                    )  # fmt: skip
                    check(y, want, limits)
                    assert torch.equal(got, scale.reshape(kept))
                    assert symmetric or torch.allclose(
                        shift, offset.reshape(kept), rtol=0, atol=0, equal_nan=True
                    )


@pytest.mark.parametrize("index", [torch.int32, torch.int64], ids=str)
def test_groups(index: torch.dtype) -> None:
    """Rows of a group are multiplied by its smooth scales; groups may be empty."""
    x, smooth = make((3, 7, 48), torch.bfloat16), make((5, 48), torch.bfloat16, 1, 0.5, 2)
    ends = torch.tensor([0, 4, 4, 13, 21], dtype=index)
    group = torch.bucketize(torch.arange(21), ends.long(), right=True)
    want, scale, _ = reference(
        (x.float().view(21, 48) * smooth.float()[group]).view(x.shape), INT8, True, (-1,)
    )
    y, got = outputs((3, 7, 48), INT8), torch.empty(3, 7)
    call("aclnnDynamicQuantV2", x, smooth, ends, 2, y, got, None)
    check(y, want, INT8)
    assert torch.equal(got, scale.squeeze(-1))
    for bad in ([0, 5, 4, 13, 21], [0, 4, 4, 13, 20], [0, 4, 4, 13, 22], [-1, 4, 4, 13, 21]):
        with pytest.raises(OperatorError, match="groupIndexOptional"):
            call("aclnnDynamicQuantV2", x, smooth, torch.tensor(bad, dtype=index), 2, y, got, None)


def test_special_rows() -> None:
    """Zeros, a constant, infinity and NaN: what has no scale becomes 0."""
    x = torch.stack([torch.zeros(24), torch.full((24,), 3.0), special_values(torch.float32)[:1].repeat(24)])
    y, scale = outputs((3, 24), INT8), torch.empty(3)
    call("aclnnDynamicQuant", x, None, y, scale)
    assert y[0].eq(0).all() and y[1].eq(127).all() and y[2].eq(0).all()
    assert scale[0] == 0 and scale[1] == torch.tensor(3.0) / 127 and scale[2].isnan()


def test_outputs_of_any_strides_and_types() -> None:
    x = make((6, 40), torch.float32)
    want, scale, offset = reference(x, INT8, False, (-1,))
    y = torch.zeros(40, 6, dtype=torch.int8).t()
    got, shift = torch.zeros(12, dtype=torch.float16)[::2], torch.zeros(6, 2)[:, 0]
    call("aclnnDynamicQuantV2", x, None, None, 2, y, got, shift)
    check(y, want, INT8)
    assert torch.equal(got, scale.squeeze(-1).half()) and torch.equal(shift, offset.squeeze(-1))


def test_empty() -> None:
    call("aclnnDynamicQuant", torch.empty(0, 8), None, torch.empty(0, 8, dtype=torch.int8), torch.empty(0))


def test_refusals() -> None:
    x, y, scale = torch.zeros(4, 8), torch.zeros(4, 8, dtype=torch.int8), torch.zeros(4)
    name = "aclnnDynamicQuantV4"

    def refused(text: str, **change: object) -> None:
        given = {
            "x": x,
            "smooth": None,
            "groups": None,
            "dst": 2,
            "sym": True,
            "mode": "pertoken",
            "max": 0.0,
        }
        given |= {"y": y, "scale": scale, "offset": None} | change
        with pytest.raises(OperatorError, match=text) as e:
            call(name, *given.values())
        assert e.value.phase == 1

    refused("x is int32", x=x.int())
    refused("quantMode is 'perrow'", mode="perrow")
    refused("dstTypeMax is 15", max=15.0)
    refused("dstType is 3", dst=3)
    refused("yOut is int16", y=y.short())
    refused("yOut is int32", y=y.int())
    refused("scaleOut is float32\\[5\\]", scale=torch.zeros(5))
    refused("offsetOut is null", sym=False)
    refused("smoothScalesOptional is float32\\[4\\]", smooth=torch.zeros(4))
    refused("without smoothScalesOptional", groups=torch.zeros(2, dtype=torch.int32))
    refused("wanted \\[2,8\\]", smooth=torch.zeros(3, 8), groups=torch.zeros(2, dtype=torch.int32))
    refused(
        "wanted pertoken", smooth=torch.zeros(4), groups=torch.zeros(2, dtype=torch.int32), mode="perchannel"
    )
    refused("wanted elements", x=torch.zeros(4, 0), y=y[:, :0])


NARROW = {36: 448.0, 35: 57344.0, HIFLOAT8: 32768.0}


@pytest.mark.parametrize("dtype", list(NARROW))
@pytest.mark.parametrize("mode", ["pertoken", "perchannel", "pertensor"])
@pytest.mark.parametrize("source", FLOATS, ids=str)
def test_floats_of_a_byte(dtype: int, mode: str, source: torch.dtype) -> None:
    """y is x / scale rounded once, and zeros are zeros; hifloat8 may be given a smaller range."""
    for shape in ((3, 17), (2, 5, 24), (65, 130)):
        x = make(shape, source)
        x[0, :], x[..., 3] = 0, 0
        dims, kept = {
            "pertoken": ((-1,), shape[:-1]),
            "perchannel": ((-2,), (*shape[:-2], shape[-1])),
            "pertensor": (tuple(range(len(shape))), (1,)),
        }[mode]
        for largest in (NARROW[dtype], 15.0) if dtype == HIFLOAT8 else (NARROW[dtype],):
            scale = x.float().abs().amax(dims, keepdim=True) / largest
            wide = x.float() / torch.where(scale == 0, 1.0, scale)
            want = torch.empty(shape, dtype=torch.uint8)
            call("aclnnCast", wide.clamp(-largest, largest), dtype, Typed(want, dtype))
            y, got = torch.full(shape, 99, dtype=torch.uint8), torch.empty(kept)
            chosen = 0.0 if largest == NARROW[dtype] else largest
            call("aclnnDynamicQuantV4", x, None, None, dtype, True, mode, chosen, Typed(y, dtype), got, None)
            assert torch.equal(got, scale.reshape(kept))
            assert torch.equal(y, want)


def test_floats_of_a_byte_keep_nan() -> None:
    x = torch.ones(2, 8)
    x[0, 3] = float("nan")
    y, scale = torch.empty(2, 8, dtype=torch.float8_e4m3fn), torch.empty(2)
    call("aclnnDynamicQuant", x, None, y, scale)
    assert y[0].float().isnan().all() and scale[0].isnan() and (y[1].float() == 448).all()
    with pytest.raises(OperatorError, match="dstTypeMax is 15"):
        call("aclnnDynamicQuantV4", x, None, None, 36, True, "pertoken", 15.0, y, scale, None)
