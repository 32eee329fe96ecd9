# SPDX-License-Identifier: Apache-2.0
"""Products of groups, SwiGLU and quantisation in one operator, against the formula in float64."""

from __future__ import annotations

import pytest
import torch
from aclnn import HIFLOAT8, OperatorError, Typed, call
from compare import assert_close, make
from narrow import E1M2, E2M1, E4M3, E5M2, assert_mx, decode, mx_quantise, mx_values, pack4
from quant_cases import pack

FIRST = "aclnnGroupedMatmulSwigluQuantWeightNZ"
SECOND = ("aclnnGroupedMatmulSwigluQuantV2", "aclnnGroupedMatmulSwigluQuantWeightNzV2")
K, N, H = 64, 80, 40
LENGTHS = ((3, 0, 5, 1), (7,), (130, 1, 67, 0, 300, 2))
BEHIND = 4


def integers(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randint(-128, 128, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.int8)


def gate(x: torch.Tensor) -> torch.Tensor:
    a, b = x.chunk(2, -1)
    return torch.nn.functional.silu(a) * b


def case(
    lengths: tuple[int, ...],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Operands with rows behind the last group, and what is quantised of the others."""
    m, groups = sum(lengths) + BEHIND, len(lengths)
    x, weight = integers((m, K), 1), integers((groups, K, N), 2)
    scale, rows = make((groups, N), torch.float32, 3, 1e-4, 1e-3), make((m,), torch.float32, 4, 0.1, 0.5)
    parts = x.double()[: m - BEHIND].split(lengths)
    by = [a @ w.double() * s.double() for a, w, s in zip(parts, weight, scale, strict=True)]
    return x, weight, scale, rows, gate(torch.cat(by) * rows[: m - BEHIND, None].double())


def assert_quantised(y: torch.Tensor, scale: torch.Tensor, want: torch.Tensor) -> None:
    n = len(want)
    factor = want.abs().amax(-1) / 127
    assert_close(scale[:n], factor, 32)
    assert ((y[:n].double() - want / factor[:, None]).abs() <= 0.5 + 1e-3).all()
    assert y[n:].eq(0).all() and scale[n:].eq(0).all()


def groups_of(lengths: tuple[int, ...], counts: bool) -> torch.Tensor:
    return torch.tensor(lengths) if counts else torch.tensor(lengths).cumsum(0)


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_int8(lengths: tuple[int, ...]) -> None:
    x, weight, scale, rows, want = case(lengths)
    m = len(x)
    for turned in (False, True):
        w = weight.transpose(1, 2).contiguous().transpose(1, 2) if turned else weight
        y, out, offset = torch.full((m, H), 9, dtype=torch.int8), torch.full((m,), 9.0), torch.full((), 9.0)
        call(FIRST, x, w, None, None, scale, rows, groups_of(lengths, False), y, out, offset)
        assert_quantised(y, out, want)
        assert offset == 0
        for op in SECOND:
            for counts in (False, True):
                lists = ([w], [scale]) if counts else (list(w.unbind()), list(scale.unbind()))
                y, out = torch.full((m, H), 9, dtype=torch.int8), torch.full((m,), 9.0)
                call(
                    op,
                    x,
                    *lists,
                    [],
                    None,
                    rows,
                    None,
                    groups_of(lengths, counts),
                    0,
                    0,
                    0,
                    int(counts),
                    None,
                    y,
                    out,
                )
                assert_quantised(y, out, want)


@pytest.mark.parametrize("op", SECOND)
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("parts", [1, 4])
def test_int4_weights(parts: int, bits: int, op: str) -> None:
    """Scales of groups of rows; int8 tokens count as x - 8, which weightAssistMatrix makes up for."""
    lengths = (30, 0, 5, 1)
    m = sum(lengths) + BEHIND
    x, weight = integers((m, K), 1) >> (8 - bits), integers((4, K, N), 2) >> 4
    scale, rows = make((4, parts, N), torch.float32, 3, 1e-3, 1e-2), make((m,), torch.float32, 4, 0.1, 0.5)
    assist = make((4, N), torch.float32, 5, -1, 1) if bits == 8 else torch.zeros(4, N)
    scaled = weight.double() * scale.double().repeat_interleave(K // parts, 1)
    taken = x.double()[: m - BEHIND].split(lengths)
    by = [
        (a - (8 if bits == 8 else 0)) @ w + b.double() for a, w, b in zip(taken, scaled, assist, strict=True)
    ]
    want = gate(torch.cat(by) * rows[: m - BEHIND, None].double())
    numbers = scale.view(torch.int32).long() & 0xFFFFFFFF
    given = x if bits == 8 else pack(x.int())
    y, out = torch.full((m, H), 9, dtype=torch.int8), torch.full((m,), 9.0)
    call(
        op, given, [pack(weight.int())], [numbers], [assist] if bits == 8 else None, None, rows, None,
        groups_of(lengths, False), int(bits == 8 and parts > 1), 0, 0, 0, None, y, out,
    )  # fmt: skip
    assert_quantised(y, out, want)


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_smooth_scales_and_what_is_between(kind: torch.dtype) -> None:
    """A product in 16 bits is rounded before it is activated."""
    lengths = (3, 0, 5, 1)
    x, weight, scale, rows, want = case(lengths)
    smooth = make((4, H), torch.float32, 5, 0.5, 2)
    y, out = torch.zeros(len(x), H, dtype=torch.int8), torch.zeros(len(x))
    number = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 27}[kind]
    call(
        SECOND[0],
        x,
        [weight],
        [scale],
        None,
        None,
        rows,
        smooth,
        groups_of(lengths, False),
        0,
        number,
        0,
        0,
        None,
        y,
        out,
    )
    want = want * smooth.repeat_interleave(torch.tensor(lengths), 0).double()
    if kind == torch.float32:
        assert_quantised(y, out, want)
        return
    n, step = len(want), torch.finfo(kind).eps
    got = y[:n].double() * out[:n, None].double()
    assert ((got - want).abs() <= out[:n, None] * 0.51 + 4 * step * want.abs().amax()).all()


@pytest.mark.parametrize("dtype", [E4M3, E5M2, HIFLOAT8])
def test_fp8_with_scales_of_rows(dtype: int) -> None:
    if dtype == HIFLOAT8:
        x = Typed(torch.full((5, K), 8, dtype=torch.uint8), dtype)  # ones
        weight = Typed(torch.full((1, K, N), 8, dtype=torch.uint8), dtype)
        wide = torch.ones(5, K, dtype=torch.float64), torch.ones(1, K, N, dtype=torch.float64)
    else:
        a, s1 = mx_quantise(make((5, K), torch.float32, 1), dtype)
        b, s2 = mx_quantise(make((1, K, N), torch.float32, 2), dtype)
        del s1, s2
        x, weight, wide = Typed(a, dtype), Typed(b, dtype), (decode(a, dtype), decode(b, dtype))
    top = float(max(t.abs().max() for t in wide))
    scale, rows = torch.full((1, N), 0.5 / top), make((5,), torch.float32, 4, 0.1 / top, 0.5 / top)
    want = gate(wide[0] @ wide[1][0] * scale.double() * rows.double()[:, None])
    y, out = torch.zeros(5, H, dtype=torch.uint8), torch.zeros(5)
    call(
        SECOND[0],
        x,
        [weight],
        [scale],
        None,
        None,
        rows,
        None,
        torch.tensor([5]),
        0,
        0,
        0,
        0,
        None,
        Typed(y, E4M3),
        out,
    )
    assert_close(out, want.abs().amax(-1) / 448, 64)
    got = decode(y, E4M3) * out[:, None].double()
    assert ((got - want).abs() <= want.abs() * 2**-4 + out[:, None] * 2**-9).all()


@pytest.mark.parametrize("dtype", [E4M3, E5M2, E2M1])
def test_mx(dtype: int) -> None:
    """What is quantised is compared with its own blocks: within half a step of the largest element's."""
    lengths = (30, 0, 99)
    m = sum(lengths)
    a, s1 = mx_quantise(make((m, K), torch.float32, 1), E4M3)
    b, s2 = mx_quantise(make((3, N, K), torch.float32, 2), E4M3)
    wide = mx_values(a, s1, E4M3), mx_values(b, s2, E4M3).transpose(1, 2)
    want = gate(torch.cat([p @ w for p, w in zip(wide[0].split(lengths), wide[1], strict=True)]))
    y = torch.zeros(m, H // 2 if dtype == E2M1 else H, dtype=torch.uint8)
    out = torch.zeros(m, 1, 2, dtype=torch.uint8)
    for mode in (0, 2):
        call(
            SECOND[0], Typed(a, E4M3), [Typed(b.transpose(1, 2), E4M3)], [Typed(s2.transpose(1, 2), 37)], None, None,
            Typed(s1, 37), None, groups_of(lengths, False), mode, 0, 2, 0, None, Typed(y, dtype), Typed(out, 37),
        )  # fmt: skip
        assert_mx(y, out, dtype, want)


@pytest.mark.parametrize("types", [(E2M1, E2M1), (E1M2, E2M1), (E4M3, E1M2)])
@pytest.mark.parametrize("as_list", [False, True])
@pytest.mark.parametrize("op", SECOND)
def test_mx_of_fp4(op: str, as_list: bool, types: tuple[int, int]) -> None:
    lengths = (30, 0, 99)
    m = sum(lengths)
    a, s1 = mx_quantise(make((m, K), torch.float32, 1), types[0])
    b, s2 = mx_quantise(make((3, N, K), torch.float32, 2), types[1])
    wide = mx_values(a, s1, types[0]), mx_values(b, s2, types[1]).transpose(1, 2)
    want = gate(torch.cat([p @ w for p, w in zip(wide[0].split(lengths), wide[1], strict=True)]))
    packed = pack4(b).transpose(1, 2)
    weights = [Typed(w, types[1]) for w in packed.unbind()] if as_list else [Typed(packed, types[1])]
    y, out = torch.zeros(m, H // 2, dtype=torch.uint8), torch.zeros(m, 1, 2, dtype=torch.uint8)
    call(
        op, Typed(a if types[0] == E4M3 else pack4(a), types[0]), weights, [Typed(s2.transpose(1, 2), 37)], None, None,
        Typed(s1, 37), None, groups_of(lengths, False), 2, 0, 2, 0, None, Typed(y, E2M1), Typed(out, 37),
    )  # fmt: skip
    assert_mx(y, out, E2M1, want)


def test_bad_input() -> None:
    x, weight, scale, rows, _ = case((3, 5))
    m = len(x)
    good = {
        "x": x, "weight": [weight], "scale": [scale], "assist": None, "bias": None, "rows": rows, "smooth": None,
        "groups": torch.tensor([3, 8]), "mode": 0, "type": 0, "quant": 0, "list": 0, "tuning": None,
        "y": torch.zeros(m, H, dtype=torch.int8), "out": torch.zeros(m),
    }  # fmt: skip

    def refused(match: str, **changed: object) -> None:
        with pytest.raises(OperatorError, match=match):
            call(SECOND[0], *(good | changed).values())

    refused("xScale is float32", rows=rows[:-1])
    refused("xScale is null", rows=None)
    refused("weightScale is null", scale=[])
    refused("x is float32.*weight int8", x=x.float())
    refused("weight", weight=[weight[:, 1:]])
    refused("weight is int8.* dimensions", weight=[weight.view(1, 1, 2, K, N)])
    refused("groupList is", groups=torch.tensor([[3, 8]]))
    refused("groupList\\[1\\] is 2", groups=torch.tensor([3, 2]))
    refused("groupList\\[1\\] is 99", groups=torch.tensor([3, 99]))
    refused("dequantMode is 1", mode=1)
    refused("dequantMode is 2", mode=2)
    refused("dequantDtype is 2", type=2)
    refused("quantMode is 2", quant=2)
    refused("groupListType is 2", list=2)
    refused("bias is float32", bias=torch.ones(2, N))
    refused("weightAssistMatrix\\[0\\] is", assist=[torch.ones(2, N)])
    refused("weightAssistMatrix is null", weight=[torch.zeros(2, K, N // 8, dtype=torch.int32)])
    refused("smoothScale is", smooth=torch.ones(2, H + 1))
    refused("output is int8", y=torch.zeros(m, N, dtype=torch.int8))
    refused("outputScale is float32", out=torch.zeros(m + 1))
    with pytest.raises(OperatorError, match="offset is float32"):
        call(
            FIRST,
            x,
            weight,
            None,
            torch.ones(2, N),
            scale,
            rows,
            torch.tensor([3, 8]),
            good["y"],
            good["out"],
            None,
        )
