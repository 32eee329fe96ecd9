# SPDX-License-Identifier: Apache-2.0
"""Attention of inference with queries of int8 and outputs that are quantised, against float64."""

from __future__ import annotations

import math

import pytest
import torch
from aclnn import IntArray, OperatorError, call
from test_infer_attention import (
    FUSED,
    PADDED,
    TOLERANCE,
    Case,
    arguments,
    close,
    make_case,
    options,
    packed,
    paged,
    reference,
    run_padded,
    table_of,
    unpacked,
)

LOW, HIGH = -128, 127
LAYOUTS = ["BNSD", "BSND", "BSH", "BNSD_BSND", "BSH_NBSD"]


# ---- outputs ----


def check_rounded(got: torch.Tensor, want: torch.Tensor, slack: torch.Tensor | float) -> None:
    """Half a step from the value before it was rounded, and what that may be off by; out of range is the nearest end."""
    assert got.dtype == torch.int8
    far = (got.double() - want.clamp(LOW, HIGH)).abs() - 0.5 - slack
    assert far.max().item() <= 0
    assert got.unique().numel() > 20


def numbers(case: Case, each: bool, dtype: torch.dtype, seed: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """quantScale2 and quantOffset2 [1 or N, 1, 1 or D]."""
    g = torch.Generator().manual_seed(seed)
    shape = (case.q.shape[1], 1, case.v.shape[-1]) if each else (1, 1, 1)
    return ((torch.rand(shape, generator=g) + 0.5) * 60).to(dtype), (
        torch.rand(shape, generator=g) * 20 - 10
    ).to(dtype)


def quantised_out(case: Case, layout: str, version: int = 2, **more) -> torch.Tensor:
    """int8 [B, N, S, D]."""
    come, _, go = layout.partition("_")
    shape = PADDED[go or come][0](torch.empty(*case.q.shape[:3], case.v.shape[-1])).shape
    out = torch.full(shape, 77, dtype=torch.int8)
    run_padded(case, layout, version, attentionOut=out, **more)
    return PADDED[go or come][1](out, case.q.shape[1])


def slack_of(case: Case, scale: torch.Tensor) -> float:
    """Computed in float32; weights of bfloat16 may be rounded to that."""
    return (
        TOLERANCE[torch.bfloat16 if case.q.dtype == torch.bfloat16 else torch.float32]
        * (scale.double().abs().max() * case.v.double().abs().max()).item()
        + 1e-4
    )


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("offset", [False, True])
def test_outputs(offset: bool, each: bool, layout: str, dtype: torch.dtype) -> None:
    """Also rows behind a batch's length: they are what zeros become."""
    case = make_case(sq=40, skv=150, d=32, dv=24, dtype=dtype)
    scale, shift = numbers(case, each, torch.float32)
    given = {
        "quantScale2Optional": scale.flatten(),
        "quantOffset2Optional": shift.flatten() if offset else None,
    }
    got = quantised_out(case, layout, **given)
    want = reference(case)[0] * scale.double() + (shift.double() if offset else 0)
    check_rounded(got, want, slack_of(case, scale))


@pytest.mark.parametrize("shape", [(4, 16), (1, 1, 4, 16), (1, 4, 1, 16), (64,), (1, 1, 64)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shapes_of_output_scales(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    case = make_case(sq=3, dtype=torch.bfloat16)
    scale, shift = numbers(case, True, dtype)
    got = quantised_out(
        case, "BSND", 3, quantScale2Optional=scale.reshape(shape), quantOffset2Optional=shift.reshape(shape)
    )  # fmt: skip
    check_rounded(got, reference(case)[0] * scale.double() + shift.double(), slack_of(case, scale))


def test_an_output_beyond_int8() -> None:
    case = make_case(sq=6)
    scale = torch.tensor([400.0])
    got = quantised_out(case, "BNSD", quantScale2Optional=scale)
    check_rounded(got, reference(case)[0] * 400, slack_of(case, scale))
    assert got.min() == LOW
    assert got.max() == HIGH


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_outputs_of_a_byte(dtype: torch.dtype) -> None:
    case = make_case(sq=7, ragged=False)
    out = torch.zeros(case.q.shape, dtype=dtype)
    run_padded(case, "BNSD", 5, attentionOut=out, quantScale2Optional=torch.tensor([3.0]))
    step = {torch.float8_e4m3fn: 2.0**-4, torch.float8_e5m2: 2.0**-3}[dtype]
    torch.testing.assert_close(out.double(), reference(case)[0] * 3, rtol=step + 1e-5, atol=2.0**-9)


def test_packed_outputs() -> None:
    """Tokens behind the last sequence are what zeros become."""
    case = make_case(b=3, sq=9, skv=140)
    scale, shift = numbers(case, True, torch.float32)
    q, k, v = packed(case.q, case.q_lengths), *(packed(t, case.kv_lengths) for t in (case.k, case.v))
    q = torch.cat([q, torch.ones(2, 4, 16)])
    out = torch.full(q.shape, 77, dtype=torch.int8)
    values = options(case, "TND", out) | {
        "query": q, "key": [k], "value": [v], "quantScale2Optional": scale.flatten(),
        "quantOffset2Optional": shift.flatten(),
        "actualSeqLengthsOptional": IntArray(torch.tensor(case.q_lengths).cumsum(0).tolist()),
        "actualSeqLengthsKvOptional": IntArray(torch.tensor(case.kv_lengths).cumsum(0).tolist()),
    }  # fmt: skip
    call(f"{FUSED}2", *arguments(f"{FUSED}2", values))
    want = packed(reference(case)[0] * scale.double() + shift.double(), case.q_lengths)
    check_rounded(out[:-2], want, slack_of(case, scale))
    assert torch.equal(out[-2:], shift.round().to(torch.int8).view(1, 4, 16).expand(2, 4, 16))


def test_outputs_of_the_operators_for_one_phase() -> None:
    case = make_case(sq=1, skv=60)
    case.q_lengths = [1] * 3
    scale, shift = numbers(case, True, torch.float32)
    want = reference(case)[0] * scale.double() + shift.double()
    common = {
        "query": case.q, "numHeads": 4, "numKeyValueHeads": 2, "scaleValue": case.scale, "inputLayout": "BNSD",
        "quantScale2": scale, "quantOffset2": shift,
    }  # fmt: skip
    for name, more in (
        ("aclnnIncreFlashAttentionV4", {"key": [case.k], "value": [case.v], "actualSeqLengths": IntArray(case.kv_lengths)}),
        ("aclnnPromptFlashAttentionV3", {"key": case.k, "value": case.v, "actualSeqLengthsKv": IntArray(case.kv_lengths)}),
    ):  # fmt: skip
        out = torch.full(case.q.shape, 77, dtype=torch.int8)
        call(name, *arguments(name, common | more | {"attentionOut": out}))
        check_rounded(out, want, slack_of(case, scale))


# ---- queries of int8 ----

FACTORS = {"score": 3e-4, "weight": 127.0, "sum": 0.02}


def int8_case(seed: int = 0, **more) -> Case:
    """The first key of every head has the highest score of every row, so a row's maximum is known from there on."""
    case = make_case(seed=seed, d=32, **more)
    g = torch.Generator().manual_seed(seed + 1)
    case.q, case.k, case.v = (
        torch.randint(LOW, HIGH + 1, t.shape, generator=g, dtype=torch.int8) for t in (case.q, case.k, case.v)
    )
    case.q[..., :8], case.k[:, :, 0, :8] = 127, 127
    case.k[:, :, 0, 8:] = 0
    case.k[:, :, 1:, :8] //= 4
    return case


def given_factors(number: bool = False) -> dict:
    score, weight, total = (torch.tensor([f]) for f in FACTORS.values())
    if number:  # of 64 bits, whose lower half is a float32
        score, total = (t.view(torch.int32).to(torch.int64) for t in (score, total))
    return {"deqScale1Optional": score, "quantScale1Optional": weight, "deqScale2Optional": total}


def int8_reference(c: Case) -> tuple[torch.Tensor, torch.Tensor]:
    """The formula in float64, and how far an element may be off: weights that are next to half a step may go both ways."""
    b, n, sq, _ = c.q.shape
    out = torch.zeros(b, n, sq, c.v.shape[-1]).double()
    slack, group = torch.zeros_like(out), n // c.k.shape[1]
    for i, (rows, keys) in enumerate(zip(c.q_lengths, c.kv_lengths, strict=True)):
        k, v = (t[i, :, :keys].double().repeat_interleave(group, 0) for t in (c.k, c.v))
        scores = c.q[i, :, :rows].double() @ k.transpose(1, 2) * FACTORS["score"] * c.scale
        if c.bias is not None:
            scores = scores + c.bias[i, :, :rows, :keys].double()
        if c.hidden is not None:
            scores = scores.masked_fill(c.hidden[i, :, :rows, :keys], -math.inf)
        weights = (scores - scores.amax(2, keepdim=True)).exp().nan_to_num()
        total = weights.sum(2, keepdim=True).clamp(min=1e-30)
        steps = weights * FACTORS["weight"]
        near = ((steps - steps.floor() - 0.5).abs() < 1e-3).double()
        out[i, :, :rows] = steps.round().clamp(LOW, HIGH) @ v / total * FACTORS["sum"]
        slack[i, :, :rows] = near @ v.abs() / total * FACTORS["sum"]
    return out, slack + 1e-5 * out.abs().max()


def run_int8(c: Case, layout: str, dtype: torch.dtype, **more) -> torch.Tensor:
    come, _, go = layout.partition("_")
    shape = PADDED[go or come][0](torch.empty(*c.q.shape[:3], c.v.shape[-1])).shape
    out = torch.full(shape, 77, dtype=dtype)
    run_padded(
        c, layout, attentionOut=out, **({} if "deqScale1Optional" in more else given_factors()), **more
    )
    return PADDED[go or come][1](out, c.q.shape[1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("sq", "skv"), [(1, 90), (1, 300), (40, 129), (150, 300)])
def test_int8(sq: int, skv: int, layout: str, dtype: torch.dtype) -> None:
    case = int8_case(sq=sq, skv=skv, dv=24)
    want, slack = int8_reference(case)
    got = run_int8(case, layout, dtype).double()
    rounding = 1e-3 if dtype == torch.float16 else 0
    assert ((got - want).abs() - slack - rounding * want.abs() - 1e-6).max().item() <= 0
    assert want.abs().max() > 0.5


def test_int8_without_the_largest_first() -> None:
    """Weights are rounded by the largest of the keys until then: never farther than half a step each."""
    case = int8_case(sq=20, skv=400)
    case.k = case.k.flip(2).contiguous()
    case.v = case.v.flip(2).contiguous()
    case.kv_lengths = [400] * 3
    plain = Case(*(t.double() for t in (case.q, case.k, case.v)), case.q_lengths, case.kv_lengths)
    plain.q = plain.q * FACTORS["score"]
    weights = (plain.q @ plain.k.repeat_interleave(2, 1).transpose(2, 3) * case.scale).softmax(3)
    total = 1 / weights.amax(3, keepdim=True)
    want = reference(plain)[0] * FACTORS["weight"] * FACTORS["sum"]
    step = FACTORS["sum"] * 0.5 * plain.v.abs().sum(2, keepdim=True).repeat_interleave(2, 1) / total
    got = run_int8(case, "BNSD", torch.float32).double()
    for i, rows in enumerate(case.q_lengths):
        assert ((got[i, :, :rows] - want[i, :, :rows]).abs() <= step[i, :, :rows]).all()


@pytest.mark.parametrize("each", [False, True])
def test_int8_to_int8(each: bool) -> None:
    case = int8_case(sq=40, skv=150)
    scale, shift = numbers(case, each, torch.float32)
    want, slack = int8_reference(case)
    got = run_int8(
        case, "BSH", torch.int8, quantScale2Optional=scale.flatten(), quantOffset2Optional=shift.flatten()
    )  # fmt: skip
    check_rounded(got, want * scale.double() + shift.double(), (slack + 1e-5) * scale.double() + 1e-4)


def test_int8_with_numbers_of_64_bits() -> None:
    case = int8_case(sq=10, skv=60)
    got = run_int8(case, "BNSD", torch.float32, **given_factors(True))
    assert torch.equal(got, run_int8(case, "BNSD", torch.float32))


def test_int8_with_mask_and_bias() -> None:
    """The factor is of the product: a bias is added behind it."""
    case = int8_case(sq=30, skv=140, ragged=False)
    g = torch.Generator().manual_seed(9)
    case.bias = torch.randn(3, 4, 30, 140, generator=g).half()
    case.bias[..., 0] = 4
    case.hidden = torch.rand(3, 1, 30, 140, generator=g) < 0.3
    case.hidden[..., 0] = False
    want, slack = int8_reference(case)
    got = run_int8(case, "BNSD", torch.float32, attenMaskOptional=case.hidden).double()
    assert ((got - want).abs() - slack - 1e-6).max().item() <= 0


@pytest.mark.parametrize("flat", [False, True])
def test_int8_pages(flat: bool) -> None:
    case = int8_case(b=3, sq=5, skv=140)
    order = table_of(case, 16)
    pages = [
        paged(t.float(), case.kv_lengths, 16, order, flat).nan_to_num(nan=99).to(torch.int8) for t in (case.k, case.v)
    ]  # fmt: skip
    want, slack = int8_reference(case)
    got = run_int8(
        case, "BNSD", torch.float32, key=[pages[0]], value=[pages[1]], blockTableOptional=order.int(), blockSize=16
    ).double()  # fmt: skip
    assert ((got - want).abs() - slack - 1e-6).max().item() <= 0


def test_ones_are_ones() -> None:
    """All factors 1: weights are not divided by their sum before they are rounded."""
    case = make_case(b=1, n=4, nkv=4, sq=2, skv=200, ragged=False)
    case.q, case.k, case.v = (torch.ones(t.shape, dtype=torch.int8) for t in (case.q, case.k, case.v))
    one = torch.ones(1)
    got = run_int8(
        case, "BNSD", torch.int8, deqScale1Optional=one, quantScale1Optional=one, deqScale2Optional=one,
        quantScale2Optional=one,
    )  # fmt: skip
    assert torch.equal(got, torch.ones_like(got))


# ---- queries that stand for floats ----


def test_query_factors_of_packed_queries() -> None:
    check_query_factors("TND", torch.int8)


@pytest.mark.parametrize("layout", ["BNSD", "BSND", "BSH", "BNSD_NBSD"])
@pytest.mark.parametrize("kind", [torch.int8, torch.float8_e4m3fn])
def test_query_factors(kind: torch.dtype, layout: str) -> None:
    check_query_factors(layout, kind)


def check_query_factors(layout: str, kind: torch.dtype) -> None:
    """Latent attention: a number for each token and head of queries, one for keys, one for values; rotated parts are bfloat16."""
    case = make_case(b=3, n=4, nkv=1, sq=6, skv=140, d=32)
    g = torch.Generator().manual_seed(4)

    def bytes_like(t: torch.Tensor) -> torch.Tensor:
        if kind == torch.int8:
            return torch.randint(LOW, HIGH + 1, t.shape, generator=g, dtype=torch.int8)
        return (torch.randn(t.shape, generator=g) * 60).to(kind)

    q, k, v = (bytes_like(t) for t in (case.q, case.k, case.v))
    of_q, of_k, of_v = (
        torch.rand(3, 4, 6, 1, generator=g) * 0.03 + 0.005,
        torch.tensor([0.011]),
        torch.tensor([0.013]),
    )
    q_rope, k_rope = (torch.randn(*t.shape[:3], 8, generator=g).bfloat16() for t in (case.q, case.k))
    case.q = torch.cat([q.double() * of_q.double(), q_rope.double()], 3)
    case.k = torch.cat([k.double() * of_k.double(), k_rope.double()], 3)
    case.v = v.double() * of_v.double()
    given = {
        "keyAntiquantScaleOptional": of_k, "valueAntiquantScaleOptional": of_v, "queryQuantMode": 3,
        "softmaxLseFlag": False,
    }  # fmt: skip
    if layout == "TND":
        totals = [IntArray(torch.tensor(m).cumsum(0).tolist()) for m in (case.q_lengths, case.kv_lengths)]
        rows, keys = case.q_lengths, case.kv_lengths
        out = torch.full((sum(rows), 4, 32), math.nan, dtype=torch.bfloat16)
        values = options(case, layout, out) | given | {
            "query": packed(q, rows), "key": [packed(k, keys)], "value": [packed(v, keys)],
            "queryRopeOptional": packed(q_rope, rows), "keyRopeOptional": packed(k_rope, keys),
            "dequantScaleQueryOptional": packed(of_q, rows)[..., 0].contiguous(), "actualSeqLengthsOptional": totals[0],
            "actualSeqLengthsKvOptional": totals[1],
        }  # fmt: skip
        call(f"{FUSED}4", *arguments(f"{FUSED}4", values))
        close(unpacked(out, rows, case.q), reference(case)[0], torch.bfloat16)
        return
    come, _, go = layout.partition("_")
    put = PADDED[come][0]
    factors = (of_q[..., 0] if come == "BNSD" else of_q[..., 0].transpose(1, 2)).contiguous()
    out = torch.full(PADDED[go or come][0](torch.empty(3, 4, 6, 32)).shape, math.nan, dtype=torch.bfloat16)
    run_padded(
        case, layout, 4, **given, query=put(q).contiguous(), key=[put(k).contiguous()], value=[put(v).contiguous()],
        queryRopeOptional=put(q_rope).contiguous(), keyRopeOptional=put(k_rope).contiguous(),
        dequantScaleQueryOptional=factors, attentionOut=out,
    )  # fmt: skip
    close(PADDED[go or come][1](out, 4), reference(case)[0], torch.bfloat16)


# ---- lengths ----


def test_more_lengths_than_batches() -> None:
    """Those behind the last batch do not count, even if they are none."""
    case = make_case(sq=6, skv=40)
    want = reference(case)[0]
    out, _ = run_padded(
        case, "BNSD", actualSeqLengthsOptional=IntArray([*case.q_lengths, 999, -5]),
        actualSeqLengthsKvOptional=IntArray([*case.kv_lengths, 1 << 40]),
    )  # fmt: skip
    close(out, want, torch.float32)


def test_scales_apart_count_before_those_in_one() -> None:
    case = make_case(sq=1, skv=40)
    case.q_lengths = [1] * 3
    g = torch.Generator().manual_seed(1)
    k, v = (torch.randint(LOW, HIGH + 1, t.shape, generator=g, dtype=torch.int8) for t in (case.k, case.v))
    case.k, case.v = k.double() * 0.02, v.double() * 0.03
    out, _ = run_padded(
        case, "BNSD", key=[k], value=[v], keyAntiquantScaleOptional=torch.tensor([0.02]),
        valueAntiquantScaleOptional=torch.tensor([0.03]), antiquantScaleOptional=torch.tensor([7.0, 7.0]),
    )  # fmt: skip
    close(out, reference(case)[0], torch.float32)


# ---- what is wrong ----


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"deqScale1Optional": None}, "deqScale1 is null, query int8"),
        ({"quantScale1Optional": None}, "quantScale1 is null"),
        ({"deqScale2Optional": None}, "deqScale2 is null"),
        ({"deqScale1Optional": torch.ones(2)}, "deqScale1 is float32.2., wanted one number of float32 or uint64"),
        ({"quantScale1Optional": torch.ones(1).long()}, "quantScale1 is int64.1., wanted one number of float32"),
        ({"value": [torch.zeros(3, 2, 37, 32)]}, "value is float32"),
        ({"attentionOut": torch.zeros(3, 4, 5, 32, dtype=torch.int8)}, "attentionOut is int8.*int8 with quantScale2"),
        ({"keyAntiquantScaleOptional": torch.ones(1), "valueAntiquantScaleOptional": torch.ones(1)},
         "scales of keys are given with query int8"),
        ({"quantOffset2Optional": torch.ones(1)}, "quantOffset2 is given, quantScale2 is null"),
        ({"quantScale2Optional": torch.ones(1)}, "attentionOut is float32.*with quantScale2, wanted int8"),
    ],
)  # fmt: skip
def test_wrong_int8(change: dict, message: str) -> None:
    case = int8_case()
    out = torch.zeros(case.q.shape)
    with pytest.raises(OperatorError, match=f"{FUSED}2: .*{message}"):
        run_padded(case, "BNSD", **({"attentionOut": out} | given_factors() | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"deqScale1Optional": torch.ones(1)}, "deqScale1 is given, .* query is float32"),
        ({"quantScale1Optional": torch.ones(1)}, "quantScale1 is given, .* query is float32"),
        ({"quantScale2Optional": torch.ones(3)}, "quantScale2 is float32.3., wanted 1 or 64 floats"),
        ({"quantScale2Optional": torch.ones(1).int()}, "quantScale2 is int32.1."),
        (
            {"quantOffset2Optional": torch.ones(64)},
            "quantOffset2 is float32.64., wanted floats as many as quantScale2",
        ),
    ],
)
def test_wrong_numbers_of_outputs(change: dict, message: str) -> None:
    case = make_case()
    given = {
        "quantScale2Optional": torch.ones(1),
        "attentionOut": torch.zeros(case.q.shape, dtype=torch.int8),
    }
    with pytest.raises(OperatorError, match=f"{FUSED}2: .*{message}"):
        run_padded(case, "BNSD", **(given | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"queryQuantMode": 0}, "queryQuantMode is 0 with dequantScaleQuery, wanted 3"),
        ({"queryQuantMode": 7}, "queryQuantMode is 7"),
        ({"keyAntiquantScaleOptional": None, "valueAntiquantScaleOptional": None}, "keyAntiquantScale is null"),
        ({"dequantScaleQueryOptional": torch.ones(3, 5, 4)}, "dequantScaleQuery is float32.3,5,4., wanted floats"),
        ({"dequantScaleQueryOptional": torch.ones(3, 4, 5).int()}, "dequantScaleQuery is int32"),
        ({"deqScale1Optional": torch.ones(1)}, "deqScale1 is given, it is of queries of int8 without dequantScaleQuery"),
        ({"query": torch.zeros(3, 4, 5, 32)}, "query is float32.*wanted int8 or a float of a byte"),
    ],
)  # fmt: skip
def test_wrong_query_factors(change: dict, message: str) -> None:
    case = int8_case()
    given = {
        "queryQuantMode": 3, "dequantScaleQueryOptional": torch.ones(3, 4, 5), "keyAntiquantScaleOptional": torch.ones(1),
        "valueAntiquantScaleOptional": torch.ones(1), "attentionOut": torch.zeros(case.q.shape),
    }  # fmt: skip
    with pytest.raises(OperatorError, match=f"{FUSED}4: .*{message}"):
        run_padded(case, "BNSD", 4, **(given | change))
