# SPDX-License-Identifier: Apache-2.0
"""Groups of fp8 and hifloat8 operands, by rows and by steps, with every kind of scale, against float64."""

from __future__ import annotations

import pytest
import torch
from aclnn import HIFLOAT8, OperatorError, Typed, call
from compare import assert_close, make
from narrow import CODES, E1M2, E2M1, E4M3, E5M2, decode, hif8_value, mx_quantise, mx_values, pack4

HIF8 = torch.tensor([hif8_value(c) for c in range(256)], dtype=torch.float64)
M, K, N, ENDS = 150, 192, 40, [30, 30, 129, 140]
GROUPS = len(ENDS)
SPANS = list(zip([0, *ENDS], ENDS, strict=False))


def codes(shape: tuple[int, ...], dtype: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    table = HIF8 if dtype == HIFLOAT8 else decode(CODES, dtype)
    usable = CODES[table.isfinite() & (table.abs() < 4)]
    pick = make(shape, torch.float64, seed, 0, len(usable)).long()
    return usable[pick], table[usable.long()][pick]


def grouped(
    x: object,
    weight: object,
    scale: object,
    rows: object,
    y: torch.Tensor,
    kind: int,
    bias: object = None,
    counts: bool = False,
) -> torch.Tensor:
    lengths = [end - first for first, end in SPANS]
    groups = torch.tensor(lengths if counts else ENDS)
    call(
        "aclnnGroupedMatmulV4", [x], weight if isinstance(weight, list) else [weight], None if bias is None else [bias], [scale], None,
        None, None, rows if rows is None else [rows], groups, None, None, None, 3, kind, int(counts), 0, [y], None,
        None,
    )  # fmt: skip
    return y


def close(out: torch.Tensor, want: torch.Tensor, magnitude: torch.Tensor) -> None:
    assert_close(out, want, 1, atol=float(magnitude.abs().max()) * 2**-20)


@pytest.mark.parametrize("dtype", [E4M3, E5M2, HIFLOAT8])
@pytest.mark.parametrize("out", [torch.float32, torch.bfloat16], ids=str)
def test_vectors_by_rows(dtype: int, out: torch.dtype) -> None:
    """Rows behind the last group are 0."""
    a, wide_a = codes((M, K), dtype, 1)
    b, wide_b = codes((GROUPS, K, N), dtype, 2)
    bias = make((GROUPS, N), torch.float32, 5)
    for columns in ((1,), (GROUPS,), (GROUPS, 1), (GROUPS, N)):
        for of_rows in (None, (1,), (GROUPS,), (M,)):
            scale = make(columns, torch.float32, 3, 0.1, 0.5)
            rows = None if of_rows is None else make(of_rows, torch.float32, 4, 0.1, 0.5)
            y = grouped(
                Typed(a, dtype), Typed(b, dtype), scale, rows, torch.full((M, N), 9, dtype=out), 0, bias
            )
            for g, (first, end) in enumerate(SPANS):
                s = scale.double().view(-1, columns[-1] if len(columns) == 2 else 1)[
                    g if columns[0] > 1 else 0
                ]
                r = torch.ones(1, dtype=torch.float64) if rows is None else rows.double()
                r = r[first:end, None] if of_rows == (M,) else r[g if of_rows == (GROUPS,) else 0]
                want = wide_a[first:end] @ wide_b[g] * s * r + bias[g].double()
                close(
                    y[first:end],
                    want,
                    wide_a[first:end].abs() @ wide_b[g].abs() + 4 if end > first else torch.ones(1),
                )
            assert y[ENDS[-1] :].eq(0).all()


@pytest.mark.parametrize("kind", [0, 2])
@pytest.mark.parametrize("shape", [(1,), (GROUPS,), (GROUPS, N)], ids=str)
def test_packed_scales(shape: tuple[int, ...], kind: int) -> None:
    """A scale of 19 bits in the lower half of a number of 64."""
    a, wide_a = codes((M, K) if kind == 0 else (M, ENDS[-1]), E4M3, 1)
    b, wide_b = codes((GROUPS, K, N) if kind == 0 else (ENDS[-1], N), E4M3, 2)
    scale = (make(shape, torch.float32, 3, 0.1, 0.5).view(torch.int32) & -8192).view(torch.float32)
    y = torch.full((M, N) if kind == 0 else (GROUPS, M, N), 9.0)
    grouped(Typed(a, E4M3), Typed(b, E4M3), scale.view(torch.int32).long() & 0xFFFFFFFF, None, y, kind)
    for g, (first, end) in enumerate(SPANS):
        s = scale.double().reshape(-1, shape[-1] if len(shape) == 2 else 1)[g if shape[0] > 1 else 0]
        left = wide_a[first:end] if kind == 0 else wide_a[:, first:end]
        right = wide_b[g] if kind == 0 else wide_b[first:end]
        if end > first:
            close(y[first:end] if kind == 0 else y[g], left @ right * s, left.abs() @ right.abs())


def test_packed_scales_of_rows() -> None:
    a, b = codes((M, K), E4M3, 1)[0], codes((GROUPS, K, N), E4M3, 2)[0]
    with pytest.raises(OperatorError, match="perTokenScaleOptional is int64"):
        grouped(Typed(a, E4M3), Typed(b, E4M3), torch.ones(1), torch.ones(M).long(), torch.zeros(M, N), 0)


@pytest.mark.parametrize("counts", [False, True])
def test_mx_by_rows(counts: bool) -> None:
    a, s1 = mx_quantise(make((M, K), torch.float32, 1), E4M3)
    b, s2 = mx_quantise(make((GROUPS, N, K), torch.float32, 2), E4M3)
    wide_a, wide_b = mx_values(a, s1, E4M3), mx_values(b, s2, E4M3).transpose(1, 2)
    turned, by = b.transpose(1, 2), s2.transpose(1, 2)
    for weight, scale in ((turned, by), (turned.contiguous(), by.contiguous())):
        y = grouped(
            Typed(a, E4M3),
            Typed(weight, E4M3),
            Typed(scale, 37),
            Typed(s1, 37),
            torch.full((M, N), 9.0),
            0,
            None,
            counts,
        )
        for g, (first, end) in enumerate(SPANS):
            if end > first:
                close(y[first:end], wide_a[first:end] @ wide_b[g], wide_a[first:end].abs() @ wide_b[g].abs())


@pytest.mark.parametrize("types", [(E2M1, E2M1), (E1M2, E1M2), (E2M1, E1M2)])
@pytest.mark.parametrize("as_list", [False, True])
@pytest.mark.parametrize("op", ["aclnnGroupedMatmulV4", "aclnnGroupedMatmulV5"])
def test_mx_of_fp4_by_rows(op: str, as_list: bool, types: tuple[int, int]) -> None:
    """Two in a byte, along k or, of weights, along the columns."""
    a, s1 = mx_quantise(make((M, K), torch.float32, 1), types[0])
    b, s2 = mx_quantise(make((GROUPS, N, K), torch.float32, 2), types[1])
    wide_a, wide_b = mx_values(a, s1, types[0]), mx_values(b, s2, types[1]).transpose(1, 2)
    along_k, along_n = pack4(b).transpose(1, 2), pack4(b.transpose(1, 2).contiguous())
    bias = make((GROUPS, N), torch.float32, 5)
    for weight in (along_k, along_n):
        scale = s2.transpose(1, 2).contiguous()
        weights = [Typed(w, types[1]) for w in weight.unbind()] if as_list else [Typed(weight, types[1])]
        y = torch.full((M, N), 9.0)
        call(
            op, [Typed(pack4(a), types[0])], weights, [bias], [Typed(scale, 37)], None, None, None, [Typed(s1, 37)],
            torch.tensor(ENDS), None, None, None, 3, 0, 0, 0, *([None] if op.endswith("V5") else []), [y], None, None,
        )  # fmt: skip
        for g, (first, end) in enumerate(SPANS):
            if end > first:
                want = wide_a[first:end] @ wide_b[g] + bias[g].double()
                close(y[first:end], want, wide_a[first:end].abs() @ wide_b[g].abs() + 4)
        assert y[ENDS[-1] :].eq(0).all()


@pytest.mark.parametrize("types", [(E4M3, E2M1), (E5M2, E1M2)])
@pytest.mark.parametrize("given", ["scale", "antiquant", "bytes"])
def test_mx_of_fp8_with_weights_of_fp4(given: str, types: tuple[int, int]) -> None:
    """Scales of the weights may be those of weights narrower than x; their e8m0 may come as bytes there."""
    a, s1 = mx_quantise(make((M, K), torch.float32, 1), types[0])
    b, s2 = mx_quantise(make((GROUPS, N, K), torch.float32, 2), types[1])
    wide_a, wide_b = mx_values(a, s1, types[0]), mx_values(b, s2, types[1]).transpose(1, 2)
    scale = s2.transpose(1, 2)
    typed = scale if given == "bytes" else Typed(scale, 37)
    y = torch.full((M, N), 9.0)
    call(
        "aclnnGroupedMatmulV4", [Typed(a, types[0])], [Typed(pack4(b).transpose(1, 2), types[1])], None,
        [typed] if given == "scale" else None, None, None if given == "scale" else [typed], None, [Typed(s1, 37)],
        torch.tensor(ENDS), None, None, None, 3, 0, 0, 0, [y], None, None,
    )  # fmt: skip
    for g, (first, end) in enumerate(SPANS):
        if end > first:
            close(y[first:end], wide_a[first:end] @ wide_b[g], wide_a[first:end].abs() @ wide_b[g].abs())
    assert y[ENDS[-1] :].eq(0).all()


def test_refused_scales_of_narrower_weights() -> None:
    a, s1 = mx_quantise(make((M, K), torch.float32, 1), E4M3)
    b, s2 = mx_quantise(make((GROUPS, N, K), torch.float32, 2), E4M3)
    y, four = torch.zeros(M, N), Typed(pack4(b & 15).transpose(1, 2), E2M1)
    by = Typed(s2.transpose(1, 2), 37)

    def refused(text: str, weight: object, scale: object, antiquant: object) -> None:
        with pytest.raises(OperatorError, match=text):
            call(
                "aclnnGroupedMatmulV4", [Typed(a, E4M3)], [weight], None, scale, None, antiquant, None, [Typed(s1, 37)],
                torch.tensor(ENDS), None, None, None, 3, 0, 0, 0, [y], None, None,
            )  # fmt: skip

    refused("antiquantScaleOptional is given, wanted none with scaleOptional", four, [by], [by])
    refused(
        "antiquantScaleOptional is given, wanted none with float8_e4m3fn",
        Typed(b.transpose(1, 2), E4M3),
        None,
        [by],
    )
    refused("antiquantScaleOptional has 2 tensors", four, None, [by, by])
    refused(
        "antiquantScaleOptional is float8_e8m0.*, wanted float8_e8m0",
        four,
        None,
        [Typed(s2[1:].transpose(1, 2), 37)],
    )
    refused("antiquantScaleOptional is float32.*wanted MX scales of both", four, None, [torch.ones(1)])
    refused("scaleOptional has 0 tensors", four, None, None)


def test_refused_fp4() -> None:
    a, s1 = mx_quantise(make((M, K), torch.float32, 1), E2M1)
    b, s2 = mx_quantise(make((GROUPS, N, K), torch.float32, 2), E2M1)
    weight, scale, y = pack4(b).transpose(1, 2), Typed(s2.transpose(1, 2).contiguous(), 37), torch.zeros(M, N)
    x, rows = Typed(pack4(a), E2M1), Typed(s1, 37)

    def refused(text: str, *given: object, kind: int = 0) -> None:
        with pytest.raises(OperatorError, match=text):
            grouped(*given, y, kind)

    refused(
        "x is dtype.40.*weight.0. float8_e4m3fn.*wanted fp4 of both.*or fp8 of x",
        x,
        Typed(b.transpose(1, 2), E4M3),
        scale,
        rows,
    )
    refused(
        "scaleOptional is float32.*, wanted MX scales with x dtype.40.*and weight dtype.40",
        x,
        Typed(weight, E2M1),
        torch.ones(1),
        None,
    )
    refused("wanted groups of rows with fp4", x, Typed(pack4(b[0]).t(), E2M1), scale, rows, kind=2)
    mixed = [Typed(w, t) for w, t in zip(weight.unbind(), (E2M1, E1M2, E2M1, E2M1), strict=True)]
    refused("weight.1. dtype.41.*of one type in all weights", x, mixed, scale, rows)


def test_blocks_by_rows() -> None:
    a, wide_a = codes((M, K), E4M3, 1)
    b, wide_b = codes((GROUPS, K, N), E4M3, 2)
    s1 = make((M, 2), torch.float32, 3, 0.1, 0.5)
    s2 = make((GROUPS, 2, 1), torch.float32, 4, 0.1, 0.5)
    y = grouped(Typed(a, E4M3), Typed(b, E4M3), s2, s1, torch.full((M, N), 9.0), 0)
    full_a = wide_a * s1.double().repeat_interleave(128, 1)[:, :K]
    full_b = wide_b * s2.double().repeat_interleave(128, 1)[:, :K]
    for g, (first, end) in enumerate(SPANS):
        if end > first:
            close(y[first:end], full_a[first:end] @ full_b[g], full_a[first:end].abs() @ full_b[g].abs())


def by_steps_operands() -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Of each operand codes, grouped scales and values; groups are of the first dimension."""
    result = []
    for seed, width in ((1, 48), (2, N)):
        x = make((M, width), torch.bfloat16, seed)
        x[ENDS[-1] :] = 0
        y = torch.zeros(x.shape, dtype=torch.uint8)
        ends = torch.tensor([*ENDS[:-1], M], dtype=torch.int32)
        scale = torch.zeros(M // 64 + GROUPS, width, 2, dtype=torch.uint8)
        call("aclnnGroupedDynamicMxQuant", x, ends, "rint", E4M3, 32, Typed(y, E4M3), Typed(scale, 37))
        wide = torch.zeros(x.shape, dtype=torch.float64)
        for first, end in SPANS:
            if end > first:
                wide[first:end] = mx_values(*mx_quantise(x[first:end], E4M3, 0), E4M3, 0)
        result.append([y, scale, wide])
    return result[0], result[1]


def test_mx_by_steps_and_into_an_accumulator() -> None:
    (a, s1, wide_a), (b, s2, wide_b) = by_steps_operands()
    x, rows = Typed(a.t(), E4M3), Typed(s1.transpose(0, 1), 37)
    y = grouped(x, Typed(b, E4M3), Typed(s2, 37), rows, torch.full((GROUPS, 48, N), 9.0), 2)
    total = make((GROUPS, 48, N), torch.float32, 7)
    start = total.clone()
    ends = torch.tensor([*ENDS[:-1], M])
    call("aclnnQuantGroupedMatmulInplaceAdd", x, Typed(b, E4M3), rows, Typed(s2, 37), ends, total, 0, 0)
    for g, (first, end) in enumerate(SPANS):
        want = wide_a[first:end].t() @ wide_b[first:end]
        size = wide_a[first:end].abs().t() @ wide_b[first:end].abs() + 4
        close(y[g], want, size)
        close(total[g], want + start[g].double(), size)


def test_bad_input() -> None:
    a, b = (
        Typed(torch.zeros(M, K, dtype=torch.uint8), E4M3),
        Typed(torch.zeros(GROUPS, K, N, dtype=torch.uint8), E4M3),
    )
    y, one = torch.empty(M, N), torch.ones(1)

    def refused(match: str, *args: object) -> None:
        with pytest.raises(OperatorError, match=match):
            grouped(*args)  # type: ignore[arg-type]

    refused("x is float32", torch.zeros(M, K), b, one, None, y, 0)
    refused(
        "weight of group 0 is",
        a,
        Typed(torch.zeros(GROUPS, K + 1, N, dtype=torch.uint8), E4M3),
        one,
        None,
        y,
        0,
    )
    refused("y is|out is", a, b, one, None, torch.empty(M, N + 1), 0)
    refused("scaleOptional is", a, b, torch.ones(7), None, y, 0)
    refused("perTokenScaleOptional is", a, b, one, torch.ones(7), y, 0)
    refused("MX scales of both", a, b, Typed(torch.zeros(GROUPS, 3, N, 2, dtype=torch.uint8), 37), one, y, 0)
