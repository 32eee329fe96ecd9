# SPDX-License-Identifier: Apache-2.0
"""Products of fp8, hifloat8 and fp4 matrices, with every kind of scale, against float64."""

from __future__ import annotations

import pytest
import torch
from aclnn import HIFLOAT8, OperatorError, Typed, call
from compare import assert_close, make
from narrow import CODES, E1M2, E2M1, E4M3, E5M2, decode, hif8_value, mx_quantise, mx_values, pack4

TYPES = {"e4m3": E4M3, "e5m2": E5M2, "hif8": HIFLOAT8}
OUTS = (torch.float32, torch.bfloat16, torch.float16)
HIF8 = torch.tensor([hif8_value(c) for c in range(256)], dtype=torch.float64)
# (m, k, n): odd ones, more than a block each way, one row, one column.
SIZES = ((3, 40, 5), (129, 320, 260), (1, 64, 96), (64, 130, 1), (16, 1, 16))


def codes(shape: tuple[int, ...], dtype: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes and their float64 values, none too large for sums in float16."""
    table = HIF8 if dtype == HIFLOAT8 else decode(CODES, dtype)
    usable = CODES[table.isfinite() & (table.abs() < 4)]
    pick = make(shape, torch.float64, seed, 0, len(usable)).long()
    return usable[pick], table[usable.long()][pick]


def multiply(
    x1: object, x2: object, s1: object, s2: object, out: torch.Tensor, bias: object = None, group: int = 0
) -> torch.Tensor:
    call("aclnnQuantMatmulV5", x1, x2, s1, s2, None, None, None, None, bias, False, False, group, out)
    return out


def close(out: torch.Tensor, want: torch.Tensor, magnitude: torch.Tensor) -> None:
    """Sums of float32: 2^-21 of the sum of magnitudes, and one rounding to out's type."""
    assert_close(out, want, 1, atol=float(magnitude.abs().max()) * 2**-21)


@pytest.mark.parametrize("kind", list(TYPES))
@pytest.mark.parametrize("out", OUTS, ids=str)
def test_vectors_of_scales(kind: str, out: torch.dtype) -> None:
    dtype = TYPES[kind]
    for m, k, n in SIZES:
        a, wide_a = codes((m, k), dtype, 1)
        b, wide_b = codes((n, k), dtype, 2)
        for each in (False, True):
            s1 = make((m if each else 1,), torch.float32, 3, 0.1, 0.5)
            s2 = make((n if each else 1,), torch.float32, 4, 0.1, 0.5)
            bias = make((n,), torch.float32, 5)
            for given, b1 in ((None, 0), (bias, bias.double())):
                for turned in (False, True):
                    x1 = Typed(a.t().contiguous().t() if turned else a, dtype)
                    x2 = Typed(b.t() if turned else b.t().contiguous(), dtype)
                    got = multiply(x1, x2, s1, s2, torch.empty(m, n, dtype=out), given)
                    scale = s1.double()[:, None] * s2.double()
                    close(got, wide_a @ wide_b.t() * scale + b1, wide_a.abs() @ wide_b.abs().t() * scale)


@pytest.mark.parametrize("rows", [1, 128])
def test_blocks(rows: int) -> None:
    """float32 scales of 1 x 128 or 128 x 128 of x1, 128 x 128 of x2."""
    for m, k, n in (*SIZES[:2], (100, 96, 160), (130, 100, 40)):
        a, wide_a = codes((m, k), E4M3, 1)
        b, wide_b = codes((n, k), E5M2, 2)
        s1 = make((-(-m // rows), -(-k // 128)), torch.float32, 3, 0.1, 0.5)
        s2 = make((-(-n // 128), -(-k // 128)), torch.float32, 4, 0.1, 0.5)
        full_a = wide_a * s1.double().repeat_interleave(rows, 0)[:m].repeat_interleave(128, 1)[:, :k]
        full_b = wide_b * s2.double().repeat_interleave(128, 0)[:n].repeat_interleave(128, 1)[:, :k]
        for turned in (False, True):
            x1, t1 = (a.t().contiguous().t(), s1.t().contiguous().t()) if turned else (a, s1)
            x2, t2 = (b.t(), s2.t()) if turned else (b.t().contiguous(), s2.t().contiguous())
            group = (rows << 32) + (128 << 16) + 128
            got = multiply(Typed(x1, E4M3), Typed(x2, E5M2), t1, t2, torch.empty(m, n), None, group)
            close(got, full_a @ full_b.t(), full_a.abs() @ full_b.abs().t())


@pytest.mark.parametrize("dtype", [E4M3, E5M2, E2M1, E1M2])
@pytest.mark.parametrize("out", OUTS, ids=str)
def test_mx(dtype: int, out: torch.dtype) -> None:
    """Scales of 32 along k; either matrix along k or across."""
    four = dtype in (E2M1, E1M2)
    for m, k, n in ((4, 64, 6), (130, 320, 258), (4, 100, 32), (4, 34, 4)):
        a, s1 = mx_quantise(make((m, k), torch.float32, 1), dtype)
        b, s2 = mx_quantise(make((n, k), torch.float32, 2), dtype)
        wide_a, wide_b = mx_values(a, s1, dtype), mx_values(b, s2, dtype)
        bias = make((n,), torch.bfloat16, 5)
        pack = pack4 if four else lambda c: c
        for turn_a in (False, True):
            for turn_b in (False, True):
                x1 = pack(a.t().contiguous()).t() if turn_a else pack(a)
                x2 = pack(b.t().contiguous()) if turn_b else pack(b).t()
                t1 = s1.transpose(0, 1).contiguous().transpose(0, 1) if turn_a else s1
                t2 = s2.transpose(0, 1).contiguous() if turn_b else s2.transpose(0, 1)
                got = multiply(
                    Typed(x1, dtype), Typed(x2, dtype), Typed(t1, 37), Typed(t2, 37), torch.empty(m, n, dtype=out),
                    bias, (1 << 32) + (1 << 16) + 32,
                )  # fmt: skip
                close(got, wide_a @ wide_b.t() + bias.double(), wide_a.abs() @ wide_b.abs().t())


def test_batches() -> None:
    """Batches of x1 that share x2, and scales with batches of their own."""
    a, s1 = mx_quantise(make((3, 10, 64), torch.float32, 1), E4M3)
    b, s2 = mx_quantise(make((3, 12, 64), torch.float32, 2), E4M3)
    wide_a, wide_b = mx_values(a, s1, E4M3), mx_values(b, s2, E4M3)
    t2 = s2.transpose(1, 2).contiguous()
    got = multiply(
        Typed(a, E4M3), Typed(b.transpose(1, 2), E4M3), Typed(s1, 37), Typed(t2, 37), torch.empty(3, 10, 12)
    )
    close(got, wide_a @ wide_b.transpose(1, 2), wide_a.abs() @ wide_b.abs().transpose(1, 2))
    one = decode(b[0], E4M3)
    rows, columns = make((10,), torch.float32, 3, 0.1, 0.5), make((12,), torch.float32, 4, 0.1, 0.5)
    got = multiply(Typed(a, E4M3), Typed(b[0].t(), E4M3), rows, columns, torch.empty(3, 10, 12))
    want = decode(a, E4M3) @ one.t() * rows.double()[:, None] * columns.double()
    close(got, want, decode(a, E4M3).abs() @ one.abs().t())


def test_nan_of_a_block_stays() -> None:
    x = make((2, 64), torch.float32, 1)
    x[1, 40] = float("nan")
    a, s1 = mx_quantise(x, E4M3)
    b, s2 = mx_quantise(make((3, 64), torch.float32, 2), E4M3)
    got = multiply(
        Typed(a, E4M3), Typed(b.t(), E4M3), Typed(s1, 37), Typed(s2.transpose(0, 1), 37), torch.empty(2, 3)
    )
    assert got[0].isfinite().all() and got[1].isnan().all()


def test_packed_scales() -> None:
    """What npu_trans_quant_param makes: 19 bits of each scale in a uint64."""
    a, wide_a = codes((4, 32), E4M3, 1)
    b, wide_b = codes((6, 32), E4M3, 2)
    scale = torch.tensor([0.5, 1.5, 2.0, 0.25, 1.0, 3.0])
    packed = scale.view(torch.int32).long()
    got = multiply(Typed(a, E4M3), Typed(b.t(), E4M3), None, packed, torch.empty(4, 6))
    close(got, wide_a @ wide_b.t() * scale.double(), wide_a.abs() @ wide_b.abs().t() * 3)


def test_empty() -> None:
    x = Typed(torch.zeros(0, 64, dtype=torch.uint8), E4M3)
    w = Typed(torch.zeros(64, 4, dtype=torch.uint8), E4M3)
    assert multiply(x, w, None, torch.ones(1), torch.empty(0, 4)).shape == (0, 4)


def test_bad_input() -> None:
    x, w = (
        Typed(torch.zeros(4, 64, dtype=torch.uint8), E4M3),
        Typed(torch.zeros(64, 6, dtype=torch.uint8), E4M3),
    )
    one, out = torch.ones(1), torch.empty(4, 6)
    mx1, mx2 = torch.zeros(4, 1, 2, dtype=torch.uint8), torch.zeros(1, 6, 2, dtype=torch.uint8)

    def refused(match: str, *args: object, **more: object) -> None:
        with pytest.raises(OperatorError, match=match):
            multiply(*args, **more)  # type: ignore[arg-type]

    refused("x2 is int8", x, torch.zeros(64, 6, dtype=torch.int8), None, one, out)
    refused("wanted fp8, hifloat8 or fp4 of both", x, Typed(w.bytes, HIFLOAT8), None, one, out)
    refused("cannot be multiplied", x, Typed(torch.zeros(32, 6, dtype=torch.uint8), E4M3), None, one, out)
    refused("out is", x, w, None, one, torch.empty(4, 7))
    refused("out is int8", x, w, None, one, torch.empty(4, 6, dtype=torch.int8))
    refused("x2Scale is null", x, w, None, None, out)
    refused("x2Scale is float32", x, w, None, torch.ones(5), out)
    refused("x1Scale is float32", x, w, torch.ones(3), one, out)
    refused("scales of blocks for both", x, w, None, Typed(mx2, 37), out)
    refused("x1Scale is float8_e8m0fnu", x, w, Typed(mx1.view(4, 2, 1), 37), Typed(mx2, 37), out)
    refused("bias is", x, w, None, one, out, torch.ones(5))
    gaps = Typed(torch.zeros(64, 64, dtype=torch.uint8)[:4, ::2], E2M1)
    refused("wanted pairs of fp4", gaps, Typed(torch.zeros(64, 3, dtype=torch.uint8), E2M1), None, one, out)
    refused("groupSize is", x, w, None, one, out, None, 64)
