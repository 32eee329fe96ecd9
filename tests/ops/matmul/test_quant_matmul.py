# SPDX-License-Identifier: Apache-2.0
"""Quantised matrix products: sums are exact, and what scales make of them is compared with float64."""

from __future__ import annotations

import pytest
import torch
from aclnn import OperatorError, call
from compare import assert_close, layouts, make
from quant_cases import pack

NAME = "aclnnQuantMatmulV5"
# m, k, n: one, odd, around the sizes of blocks, long sums, more than one super block of columns.
SIZES = (
    (1, 1, 1), (3, 5, 7), (14, 64, 32), (15, 67, 33), (29, 1025, 65), (141, 300, 257), (2, 4100, 40), (1, 256, 1000),
    (33, 40, 1900), (0, 4, 3), (4, 0, 3),
)  # fmt: skip


def values(*shape: int, seed: int = 0, low: int = -128, high: int = 128) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randint(low, high, shape, generator=g, dtype=torch.int8)


def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Exact: float64 holds every sum."""
    return a.double() @ b.double()


def run(
    x1: torch.Tensor,
    x2: torch.Tensor,
    scale: torch.Tensor,
    out: torch.Tensor,
    rows: torch.Tensor | None = None,
    offset: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    turned: tuple[bool, bool] = (False, False),
) -> torch.Tensor:
    call(NAME, x1, x2, rows, scale, None, torch.empty(0), offset, torch.empty(0), bias, *turned, 0, out)
    return out


def test_sums_are_exact() -> None:
    one = torch.ones(1)
    for m, k, n in SIZES:
        x1, x2 = values(m, k), values(k, n, seed=1)
        bias = torch.randint(-1000, 1000, (n,), dtype=torch.int32)
        for name_a, a in layouts(x1):
            for name_b, b in layouts(x2):
                out = torch.full((m, n), 7, dtype=torch.int32)
                assert torch.equal(run(a, b, one, out).double(), product(x1, x2)), (m, k, n, name_a, name_b)
                run(a, b, one, out, bias=bias)
                assert torch.equal(out.double(), product(x1, x2) + bias)


def test_extreme_sums() -> None:
    """-128 times -128, as often as k allows, and what is beyond int32 modulo 2^32."""
    for k in (4096, 131071, 131072):
        x1, x2 = torch.full((3, k), -128, dtype=torch.int8), torch.full((k, 5), -128, dtype=torch.int8)
        want = (k * 128 * 128 + 2**31) % 2**32 - 2**31
        assert run(x1, x2, torch.ones(1), torch.zeros(3, 5, dtype=torch.int32)).eq(want).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("scale_type", [torch.float32, torch.bfloat16], ids=str)
def test_scales(dtype: torch.dtype, scale_type: torch.dtype) -> None:
    for m, k, n in SIZES[1:6:2] + SIZES[7:]:
        x1, x2, exact = values(m, k), values(k, n, seed=1), product(values(m, k), values(k, n, seed=1))
        whole, wide = torch.randint(-999, 999, (n,), dtype=torch.int32), make((1, n), torch.bfloat16, 5)
        for columns in (1, n):
            scale = make((columns,), scale_type, 2, 1e-5, 1e-4)
            for rows in (None, make((m,), torch.float32, 3, 0.1, 1), make((1,), torch.float32, 4, 0.1, 1)):
                factor = scale.double() * (1 if rows is None else rows.double()[:, None])
                for bias in (None, whole, wide):
                    want = exact * factor if bias is not whole else (exact + whole) * factor
                    want = want + (bias.double() if bias is wide else 0)
                    out = torch.full((m, n), 7.0, dtype=dtype)
                    assert_close(run(x1, x2, scale, out, rows, bias=bias), want, 2, 1e-6)


def test_int8_results() -> None:
    """A float32 scale, and one that carries its offset: rounded, clipped."""
    m, k, n = 37, 300, 70
    x1, x2 = values(m, k), values(k, n, seed=1)
    scale, offset = make((n,), torch.float32, 2, 1e-4, 1e-3), make((n,), torch.float32, 3, -30, 30)
    bias = torch.randint(-999, 999, (n,), dtype=torch.int32)
    sums = (product(x1, x2) + bias).float()
    for by, at in ((scale, offset), (scale[:1], offset[:1])):
        want = (sums * by + at).round().clamp(-128, 127).to(torch.int8)
        assert torch.equal(run(x1, x2, by, torch.zeros(m, n, dtype=torch.int8), None, at, bias), want)
        packed = torch.zeros(by.shape, dtype=torch.int64)
        call("aclnnTransQuantParamV2", by, at, packed)
        cut = (by.view(torch.int32) & -8192).view(torch.float32)
        want = (sums * cut + at.round()).round().clamp(-128, 127).to(torch.int8)
        for given in (None, at):  # torch_npu passes the offset again
            out = torch.zeros(m, n, dtype=torch.int8)
            assert torch.equal(run(x1, x2, packed, out, None, given, bias), want)
            assert torch.equal(run(x1, x2, packed.view(torch.uint64), out, None, given, bias), want)
        assert_close(
            run(x1, x2, packed, torch.zeros(m, n, dtype=torch.float16), None, None, bias),
            sums.double() * cut.double(),
            2,
        )


@pytest.mark.parametrize(
    "batches", [((2, 3), (2, 3)), ((2, 3), ()), ((), (4,)), ((3, 1), (1, 2)), ((5,), (1,))], ids=str
)
@pytest.mark.parametrize("sizes", [(5, 6, 7), (80, 128, 130)], ids=str)
def test_batches(batches: tuple[tuple[int, ...], tuple[int, ...]], sizes: tuple[int, int, int]) -> None:
    m, k, n = sizes
    x1, x2 = values(*batches[0], m, k), values(*batches[1], k, n, seed=1)
    scale, rows = make((n,), torch.float32, 2, 1e-4, 1e-3), make((m,), torch.float32, 3, 0.1, 1)
    for _, a in layouts(x1):
        for _, b in layouts(x2):
            want = product(x1, x2) * scale.double() * rows.double()[:, None]
            out = torch.zeros(want.shape, dtype=torch.bfloat16)
            assert_close(run(a, b, scale, out, rows), want, 2, 1e-4)
            if want.dim() == 3:
                bias = torch.randint(-999, 999, (want.shape[0], 1, n), dtype=torch.int32)
                run(a, b, scale, out, rows, bias=bias)
                assert_close(out, (product(x1, x2) + bias) * scale.double() * rows.double()[:, None], 2, 1e-4)


def test_turned() -> None:
    x1, x2 = values(20, 9), values(33, 20, seed=1)
    out = torch.zeros(9, 33, dtype=torch.int32)
    assert torch.equal(run(x1, x2, torch.ones(1), out, turned=(True, True)).double(), product(x1.t(), x2.t()))


def test_int4() -> None:
    """Packed along the last dimension, or along k where x2 is a transpose."""
    for m, k, n in ((1, 8, 8), (5, 160, 80), (33, 264, 136)):
        x1, x2 = values(m, k, low=-8, high=8), values(k, n, seed=1, low=-8, high=8)
        for b in (pack(x2), pack(x2.t()).t()):
            out = torch.zeros(m, n, dtype=torch.int32)
            assert torch.equal(run(pack(x1), b, torch.ones(1), out).double(), product(x1, x2))
        rows, scale = make((m,), torch.float32, 3, 0.1, 1), make((n,), torch.float32, 2)
        half = run(pack(x1), pack(x2), scale, torch.zeros(m, n, dtype=torch.float16), rows)
        assert_close(half, product(x1, x2) * scale.double() * rows.double()[:, None], 2, 1e-5)


@pytest.mark.parametrize("kind", ["int8", "int4", "int8 by int4"])
def test_scales_of_groups(kind: str) -> None:
    """Along k; where x1 is int8 and x2 int4, x1 is less by 8, which the offset makes up for."""
    m, k, n, group = 5, 192, 40, 64
    four = (-8, 8)
    x1 = values(m, k) if kind != "int4" else values(m, k, low=four[0], high=four[1])
    x2 = values(k, n, seed=1) if kind == "int8" else values(k, n, seed=1, low=four[0], high=four[1])
    scale, rows = make((k // group, n), torch.float32, 2, 1e-4, 1e-3), make((m, 1), torch.float32, 3, 0.1, 1)
    shift, offset = (8, make((n,), torch.float32, 4)) if kind == "int8 by int4" else (0, None)
    packed = torch.zeros(scale.numel(), dtype=torch.int64)
    call("aclnnTransQuantParamV2", scale.flatten(), None, packed)
    cut = (scale.view(torch.int32) & -8192).view(torch.float32)
    for by, factor in ((scale, scale), (packed.view_as(scale), cut)):
        parts = [
            product(x1[:, at : at + group].int() - shift, x2[at : at + group]) * factor[at // group].double()
            for at in range(0, k, group)
        ]
        want = (sum(parts) + (0 if offset is None else offset.double())) * rows.double()
        for a in (x1, x1.t().contiguous().t()) if kind != "int4" else (pack(x1),):
            for b in (x2, x2.t().contiguous().t()) if kind == "int8" else (pack(x2), pack(x2.t()).t()):
                out = torch.zeros(m, n, dtype=torch.float32)
                call(NAME, a, b, rows, by, None, None, None, offset, None, False, False, group, out)
                assert_close(out, want, 16, 1e-4)


def test_out_of_any_strides() -> None:
    x1, x2 = values(6, 9), values(9, 5, seed=1)
    out = torch.zeros(5, 12, dtype=torch.float32).t()[::2]
    assert torch.equal(run(x1, x2, torch.ones(1), out).double(), product(x1, x2))


def test_refusals() -> None:
    x1, x2, one, half = values(4, 8), values(8, 16), torch.ones(1), torch.zeros(4, 16, dtype=torch.float16)

    def refused(text: str, group: int = 0, y_scale: torch.Tensor | None = None, **change: object) -> None:
        given = {
            "x1": x1,
            "x2": x2,
            "rows": None,
            "scale": one,
            "offset": None,
            "bias": None,
            "out": half,
        } | change
        with pytest.raises(OperatorError, match=text):
            call(NAME, given["x1"], given["x2"], given["rows"], given["scale"], y_scale, None, given["offset"], None,
                 given["bias"], False, False, group, given["out"])  # fmt: skip

    refused("x2Scale is float32\\[1\\], wanted \\[2,16\\]", group=4)
    refused("groups of 3 in 8 steps", group=3)
    refused("groupSize is 0x200000004", group=2 << 32 | 4)
    refused("bias is given", group=4, scale=torch.ones(2, 16), bias=torch.ones(16))
    refused("yScale is", y_scale=one)
    refused("x1 is float32", x1=x1.float())
    refused("wanted one type", x1=pack(x1), x2=x2)
    refused("cannot be multiplied: 8 columns, 7 rows", x2=x2[:7])
    refused("out is float64", out=half.double())
    refused("out is float16\\[4,15\\]", out=half[:, :15])
    refused("x2Scale is float32\\[3\\]", scale=torch.ones(3))
    refused("x1Scale is float32\\[3\\]", rows=torch.ones(3))
    refused("x2Offset is float32\\[1\\]", offset=one)
    refused("bias is float32\\[4\\]", bias=torch.ones(4))
    refused("bias is float32\\[16\\], wanted int32 for", bias=torch.ones(16), out=half.int())


FUSED = "aclnnFusedQuantMatmul"
ACTIVATIONS = {
    "gelu_erf": torch.nn.functional.gelu,
    "gelu_tanh": lambda z: torch.nn.functional.gelu(z, approximate="tanh"),
    "relu": torch.relu,
}


def fused(
    x1: torch.Tensor,
    x2: torch.Tensor,
    rows: torch.Tensor | None,
    scale: torch.Tensor,
    bias: torch.Tensor | None,
    word: str,
    out: torch.Tensor,
) -> torch.Tensor:
    call(FUSED, x1, x2, rows, scale, None, None, None, None, bias, None, word, 0, out)
    return out


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("word", list(ACTIVATIONS))
def test_activated(dtype: torch.dtype, word: str) -> None:
    """What the product alone gives in float64, activated and rounded once."""
    for m, k, n in SIZES:
        exact = product(values(m, k), values(k, n, seed=1))
        scale, rows = make((n,), torch.bfloat16, 2, 1e-5, 1e-4), make((m,), torch.float32, 3, 0.1, 1)
        whole, wide = torch.randint(-999, 999, (n,), dtype=torch.int32), make((n,), torch.float16, 5)
        both = zip(layouts(values(m, k)), layouts(values(k, n, seed=1)), (None, whole, wide), strict=True)
        for (_, x1), (_, x2), bias in both:
            z = exact + (whole if bias is whole else 0)
            z = z * scale.double() * rows.double()[:, None] + (wide.double() if bias is wide else 0)
            out = torch.full((n, m), 7.0, dtype=dtype).t()
            assert_close(fused(x1, x2, rows, scale, bias, word, out), ACTIVATIONS[word](z), 2, 4e-6)


def test_activated_batches_and_int4() -> None:
    x1, x2 = values(3, 6, 16, low=-8, high=8), values(3, 16, 24, seed=1, low=-8, high=8)
    scale, rows = make((24,), torch.float32, 2, 0.01, 0.1), make((6,), torch.float32, 3, 0.1, 1)
    want = ACTIVATIONS["gelu_tanh"](product(x1, x2) * scale.double() * rows.double()[:, None])
    for a, b in ((x1, x2), (pack(x1), pack(x2))):
        out = torch.zeros(3, 6, 24, dtype=torch.bfloat16)
        assert_close(fused(a, b, rows, scale, None, "gelu_tanh", out), want, 2, 4e-6)


def test_activated_no_numbers() -> None:
    x1, x2, out = values(2, 3), values(3, 4), torch.zeros(2, 4)
    scale = torch.tensor([float("nan"), float("inf"), 0.0, 1.0])
    fused(x1, x2, None, scale, None, "relu", out)
    z = product(x1, x2)
    assert out[:, 0].isnan().all() and out[:, 2].eq(0).all()
    assert torch.equal(out[:, 1], torch.where(z[:, 1] > 0, float("inf"), 0.0).float())


def test_activated_refusals() -> None:
    x1, x2, one, half = values(4, 8), values(8, 16), torch.ones(1), torch.zeros(4, 16, dtype=torch.float16)
    good = [x1, x2, None, one, None, None, None, None, None, None, "gelu_erf", 0, half]
    call(FUSED, *good)
    for at, bad, text in (
        (0, None, "x1 is null"),
        (0, x1.float(), "x1 is float32"),
        (1, None, "x2 is null"),
        (1, x2[:7], "cannot be multiplied: 8 columns, 7 rows"),
        (2, torch.ones(3), "x1Scale is float32[3]"),
        (3, None, "x2Scale is null"),
        (3, torch.ones(3), "x2Scale is float32[3]"),
        (4, one, "yScaleOptional is float32[1], wanted none"),
        (5, one, "x1OffsetOptional is"),
        (6, one, "x2OffsetOptional is"),
        (7, one, "yOffsetOptional is"),
        (8, torch.ones(4), "bias is float32[4]"),
        (9, half, "x3Optional is"),
        (10, None, "fusedOpType is null"),
        (10, "silu", "fusedOpType is 'silu', wanted gelu_erf, gelu_tanh or relu"),
        (11, 32, "groupSizeOptional is 32"),
        (12, None, "out is null"),
        (12, half.to(torch.int8), "out is int8[4,16], wanted float16"),
        (12, half[:, :15], "out is float16[4,15]"),
    ):
        with pytest.raises(OperatorError, match=FUSED) as e:
            call(FUSED, *good[:at], bad, *good[at + 1 :])
        assert text in e.value.text, e.value.text
