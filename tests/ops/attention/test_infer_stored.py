# SPDX-License-Identifier: Apache-2.0
"""Attention of inference over quantised caches, shared prefixes, sequences filled up on the left and a tensor for each batch, against float64."""

from __future__ import annotations

import math

import pytest
import torch
from aclnn import IntArray, OperatorError, call
from quant_cases import pack
from test_infer_attention import (
    FUSED,
    PADDED,
    TOLERANCE,
    Case,
    arguments,
    check_padded,
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

F8 = torch.float8_e4m3fn
MODES = {"channel": 0, "tensor": 0, "token": 1, "head": 2, "token head": 3}


def scale_shape(how: str, t: torch.Tensor) -> tuple[int, ...]:
    """Of t [B, N, S, D], such that it broadcasts."""
    b, n, s, d = t.shape
    return {
        "channel": (1, n, 1, d), "tensor": (1, 1, 1, 1), "token": (b, 1, s, 1), "head": (1, n, 1, 1),
        "token head": (b, n, s, 1),
    }[how]  # fmt: skip


def passed(how: str, t: torch.Tensor) -> torch.Tensor:
    """As the interface wants it, in its shortest shape."""
    return {
        "channel": lambda: t.flatten(0, 2), "tensor": lambda: t.flatten(), "token": lambda: t[:, 0, :, 0],
        "head": lambda: t.flatten(), "token head": lambda: t[..., 0],
    }[how]().contiguous()  # fmt: skip


def quantised(case: Case, dtype: str, how: str, offsets: bool, seed: int = 5) -> dict:
    """Random caches and numbers for them; the case's keys and values become what they mean. The values: as given, [B, N, S, D]."""
    g = torch.Generator().manual_seed(seed)
    given: dict = {}
    for name, t in (("key", case.k), ("value", case.v)):
        if dtype == "float8":
            q = torch.randn(t.shape, generator=g).to(F8)
        else:
            low = -8 if dtype == "int4" else -128
            q = torch.randint(low, -low, t.shape, generator=g, dtype=torch.int8)
        unit = {"int4": 0.2, "int8": 0.02, "float8": 1.0}[dtype]
        number = torch.float32 if "token" in how else case.q.dtype
        scale = ((torch.rand(scale_shape(how, t), generator=g) + 0.5) * unit).to(number)
        offset = torch.randint(-2, 3, scale.shape, generator=g).to(number)
        given[name] = q
        given[f"{name}AntiquantScaleOptional"] = passed(how, scale)
        given[f"{name}AntiquantOffsetOptional"] = passed(how, offset) if offsets else None
        given[f"{name}AntiquantMode"] = MODES[how]
        meant = (q.double() + (offset.double() if offsets else 0)) * scale.double()
        setattr(case, name[0], meant)
    return given


def stored(t: torch.Tensor, layout: str = "BNSD") -> torch.Tensor:
    """In the layout; int4, whose values lie within -8 and 7, become an eighth as many int32."""
    t = PADDED[layout][0](t).contiguous()
    return pack(t.int()) if t.dtype == torch.int8 and t.abs().max() <= 8 else t


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("how", MODES)
@pytest.mark.parametrize("cache", ["int8", "int4", "float8"])
@pytest.mark.parametrize("layout", ["BNSD", "BSND", "BSH"])
def test_quantised_caches(layout: str, cache: str, how: str, dtype: torch.dtype) -> None:
    """Steps of decoding and prompts over more than one tile of keys, with offsets and without."""
    for sq, offsets in ((1, True), (1, False), (40, True)):
        case = make_case(sq=sq, skv=150, d=24, dv=32, dtype=dtype, seed=sq)
        given = quantised(case, cache, how, offsets)
        given |= {n: [stored(given[n], layout)] for n in ("key", "value")}
        check_padded(case, layout, **given)


@pytest.mark.parametrize("shape", [(32,), (1, 32), (2, 16), (1, 2, 16), (2, 1, 16), (1, 2, 1, 16)])
def test_shapes_of_scales_of_channels(shape: tuple[int, ...]) -> None:
    case = make_case(sq=1, skv=20)
    given = quantised(case, "int8", "channel", True)
    given |= {n: [stored(given[n])] for n in ("key", "value")}
    for name in [n for n in given if n.endswith("Optional")]:
        given[name] = given[name].view(shape)
    check_padded(case, "BNSD", **given)


def test_keys_of_channels_and_values_of_tokens() -> None:
    case = make_case(sq=1, skv=70)
    keys, values = quantised(case, "int8", "channel", True), quantised(case, "int8", "token", True)
    k_case = make_case(sq=1, skv=70)
    quantised(k_case, "int8", "channel", True)
    case.k = k_case.k
    given = {n: (keys if n.startswith("key") else values)[n] for n in keys}
    given |= {n: [stored(given[n])] for n in ("key", "value")}
    check_padded(case, "BNSD", **given)


@pytest.mark.parametrize("how", ["channel", "tensor", "token"])
@pytest.mark.parametrize("offsets", [False, True])
def test_numbers_of_keys_and_values_in_one(how: str, offsets: bool) -> None:
    """antiquantScale [2, ...]; IncreFlashAttention knows those of channels."""
    case = make_case(sq=1, skv=90, dtype=torch.float16)
    given = quantised(case, "int8", how, offsets)
    both = {
        f"antiquant{part}Optional": torch.stack([given[f"{n}Antiquant{part}Optional"] for n in ("key", "value")])
        for part in (("Scale", "Offset") if offsets else ("Scale",))
    }  # fmt: skip
    caches = {n: [stored(given[n])] for n in ("key", "value")}
    check_padded(case, "BNSD", antiquantMode=MODES[how], **both, **caches)
    if how == "token":
        return
    out = torch.full_like(case.q, math.nan)
    values = {
        "query": case.q, **caches, "actualSeqLengths": IntArray(case.kv_lengths), "numHeads": 4, "numKeyValueHeads": 2,
        "scaleValue": case.scale, "inputLayout": "BNSD", "attentionOut": out,
        **{n.removesuffix("Optional"): t for n, t in both.items()},
    }  # fmt: skip
    call("aclnnIncreFlashAttentionV4", *arguments("aclnnIncreFlashAttentionV4", values))
    close(out, reference(case)[0], torch.float16)


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("mode", [0, 1, 2, 3, 4, 5])
def test_quantised_pages(mode: int, flat: bool) -> None:
    """Numbers of tokens lie as batches have them, or in pages of their own."""
    how = {0: "channel", 1: "token", 2: "head", 3: "token head", 4: "token", 5: "token head"}[mode]
    case = make_case(b=4, sq=1, skv=300, d=32)
    case.q_lengths = [1] * 4
    order = table_of(case, 16)
    given = quantised(case, "int8", how, True)
    for name in ("key", "value"):
        pages = torch.zeros(order.numel(), 2, 16, 32, dtype=torch.int8)
        for i, length in enumerate(case.kv_lengths):
            for at in range(length):
                pages[order[i, at // 16], :, at % 16] = given[name][i, :, at]
        given[name] = [pages.transpose(1, 2).flatten(2).contiguous() if flat else pages]
        given[f"{name}AntiquantMode"] = mode
        for part in ("Scale", "Offset") if mode > 3 else ():
            t = given[f"{name}Antiquant{part}Optional"]
            t = (t if mode == 5 else t.unsqueeze(1)).unsqueeze(-1)
            own = paged(t, case.kv_lengths, 16, order, False)[..., 0]
            given[f"{name}Antiquant{part}Optional"] = own if mode == 5 else own[:, 0].contiguous()
    check_padded(case, "BSND", blockTableOptional=order.int(), blockSize=16, **given)


def test_quantised_and_packed() -> None:
    case = make_case(sq=9, skv=140)
    given = quantised(case, "int8", "channel", True)
    q, k, v = packed(case.q, case.q_lengths), *(packed(given[n], case.kv_lengths) for n in ("key", "value"))
    totals = [IntArray(torch.tensor(m).cumsum(0).tolist()) for m in (case.q_lengths, case.kv_lengths)]
    out = torch.full_like(q, math.nan)
    values = options(case, "TND", out) | given | {
        "query": q, "key": [k], "value": [v], "actualSeqLengthsOptional": totals[0],
        "actualSeqLengthsKvOptional": totals[1],
    }  # fmt: skip
    call(f"{FUSED}2", *arguments(f"{FUSED}2", values))
    close(unpacked(out, case.q_lengths, case.q), reference(case)[0], torch.float32)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("layout", ["BNSD", "BSND", "BSH"])
@pytest.mark.parametrize(("sq", "used"), [(1, None), (1, 130), (40, 3), (1, 0)])
def test_shared_prefixes(sq: int, used: int | None, layout: str, dtype: torch.dtype) -> None:
    """All batches see it before their own keys, also below a diagonal."""
    case = make_case(sq=sq, skv=90, dtype=dtype)
    g = torch.Generator().manual_seed(7)
    first = [torch.randn(1, 2, 140, 16, generator=g).to(dtype) for _ in range(2)]
    length = 140 if used is None else used
    given = {
        "key": [PADDED[layout][0](case.k).contiguous()], "value": [PADDED[layout][0](case.v).contiguous()],
        "keySharedPrefixOptional": PADDED[layout][0](first[0]).contiguous(),
        "valueSharedPrefixOptional": PADDED[layout][0](first[1]).contiguous(),
        "actualSharedPrefixLenOptional": None if used is None else IntArray([used]),
        "actualSeqLengthsKvOptional": IntArray(case.kv_lengths),
    }  # fmt: skip
    case.k, case.v = (
        torch.cat([f[:, :, :length].expand(3, -1, -1, -1), own], 2)
        for f, own in zip(first, (case.k, case.v), strict=True)
    )
    case.kv_lengths = [length + n for n in case.kv_lengths]
    if sq > 1:
        case.options = {"sparseMode": 3}
        given["attenMaskOptional"] = torch.triu(torch.ones(2048, 2048), 1).bool()
        i, j = torch.arange(sq).view(-1, 1), torch.arange(case.k.shape[2]).view(1, -1)
        case.hidden = torch.stack(
            [(j > i + kv - q)[None] for q, kv in zip(case.q_lengths, case.kv_lengths, strict=True)]
        )
    out, lse = run_padded(case, layout, **given)
    want, want_lse = reference(case)
    close(out, want, dtype)
    torch.testing.assert_close(
        lse.double(), want_lse.where(want_lse > -math.inf, math.inf), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("how", ["channel", "head"])
@pytest.mark.parametrize("cache", ["int8", "int4"])
def test_quantised_prefixes(cache: str, how: str) -> None:
    whole = make_case(sq=1, skv=150)
    given = quantised(whole, cache, how, True)
    whole.k, whole.v = (
        torch.cat([t[:1, :, :60].expand(3, -1, -1, -1), t[:, :, 60:]], 2) for t in (whole.k, whole.v)
    )
    whole.kv_lengths = [60 + n for n in (90, 1, 33)]
    for name in ("key", "value"):
        given[f"{name}SharedPrefixOptional"] = stored(given[name][:1, :, :60])
        given[name] = [stored(given[name][:, :, 60:])]
    check_padded(whole, "BNSD", actualSeqLengthsKvOptional=IntArray([90, 1, 33]), **given)


def left(t: torch.Tensor, lengths: list[int], behind: int) -> torch.Tensor:
    """[B, N, S, D] with each batch's rows ending `behind` positions before the end; the others NaN."""
    result = torch.full_like(t, math.nan)
    for i, n in enumerate(lengths):
        end = t.shape[2] - behind
        result[i, :, end - n : end] = t[i, :, :n]
    return result


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("layout", ["BNSD", "BSH"])
@pytest.mark.parametrize("behind", [0, 3])
def test_padding_on_the_left(behind: int, layout: str, dtype: torch.dtype) -> None:
    """Of queries and keys; what lies beside the sequences is not read, and becomes zero in the output. Masks count all positions."""
    case = make_case(sq=20, skv=150, dtype=dtype)
    case.q_lengths, case.kv_lengths = [17, 1, 9], [130, 147, 20]
    g = torch.Generator().manual_seed(8)
    case.hidden = torch.rand(3, 1, 20, 150, generator=g) < 0.5
    case.bias = torch.randn(3, 4, 20, 150, generator=g)
    want, want_lse = reference(case)
    put = PADDED[layout][0]
    mask, bias = torch.ones(3, 1, 20, 150, dtype=torch.bool), torch.full((3, 4, 20, 150), math.nan)
    for i, (rows, keys) in enumerate(zip(case.q_lengths, case.kv_lengths, strict=True)):
        there = (
            i,
            slice(None),
            slice(20 - behind - rows, 20 - behind),
            slice(150 - behind - keys, 150 - behind),
        )
        mask[there], bias[there] = case.hidden[i, :, :rows, :keys], case.bias[i, :, :rows, :keys]
    out, lse = run_padded(
        case, layout, query=put(left(case.q, case.q_lengths, behind)).contiguous(), attenMaskOptional=mask,
        key=[put(left(case.k, case.kv_lengths, behind)).contiguous()], pseShiftOptional=bias,
        value=[put(left(case.v, case.kv_lengths, behind)).contiguous()],
        queryPaddingSizeOptional=torch.tensor([behind]), kvPaddingSizeOptional=torch.tensor([behind]),
    )  # fmt: skip
    for i, n in enumerate(case.q_lengths):
        at = slice(20 - behind - n, 20 - behind)
        close(out[i, :, at], want[i, :, :n], dtype)
        torch.testing.assert_close(lse[i, :, at].double(), want_lse[i, :, :n], rtol=1e-5, atol=1e-5)
        beside = torch.ones(20, dtype=torch.bool)
        beside[at] = False
        assert (out[i][:, beside] == 0).all() and (lse[i][:, beside] == 0).all()


def test_a_step_over_keys_filled_up_on_the_left() -> None:
    """A number below 0 counts as 0; keys that would begin before their tensor are none. The interface has it so for one query."""
    case = make_case(sq=1, skv=80)
    case.q_lengths, case.kv_lengths = [1] * 3, [80, 30, 75]
    for behind in (-4, 6):
        space = max(behind, 0)
        lengths = [n if n + space <= 80 else 0 for n in case.kv_lengths]
        keys, values = (left(t, lengths, space) for t in (case.k, case.v))
        out = torch.full_like(case.q, math.nan)
        arguments_ = {
            "query": case.q, "key": [keys], "value": [values], "actualSeqLengths": IntArray(case.kv_lengths),
            "numHeads": 4, "numKeyValueHeads": 2, "scaleValue": case.scale, "inputLayout": "BNSD",
            "attentionOut": out, "kvPaddingSize": torch.tensor([behind]),
        }  # fmt: skip
        call("aclnnIncreFlashAttentionV4", *arguments("aclnnIncreFlashAttentionV4", arguments_))
        close(out, reference(Case(case.q, case.k, case.v, [1] * 3, lengths))[0], torch.float32)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("layout", ["BNSD", "BSND", "BSH"])
@pytest.mark.parametrize("sq", [1, 30])
@pytest.mark.parametrize("given", [True, False])
def test_a_tensor_for_each_batch(given: bool, sq: int, layout: str, dtype: torch.dtype) -> None:
    case = make_case(sq=sq, skv=200, dtype=dtype)
    rows = [200, 17, 131]
    case.kv_lengths = [180, 1, 131] if given else rows
    lists = {
        name: [PADDED[layout][0](t[i : i + 1, :, :n]).contiguous() for i, n in enumerate(rows)]
        for name, t in (("key", case.k), ("value", case.v))
    }
    lengths = IntArray(case.kv_lengths) if given else None
    check_padded(case, layout, actualSeqLengthsKvOptional=lengths, **lists)


def test_a_quantised_tensor_for_each_batch() -> None:
    case = make_case(sq=1, skv=200)
    case.kv_lengths = rows = [200, 17, 131]
    caches = quantised(case, "int8", "token", True)
    for name in ("key", "value"):
        caches[name] = [caches[name][i : i + 1, :, :n].contiguous() for i, n in enumerate(rows)]
    check_padded(case, "BNSD", **caches)


def test_a_mask_for_each_batch_of_a_step() -> None:
    case = make_case(sq=1, skv=70)
    mask = torch.rand(3, 70, generator=torch.Generator().manual_seed(9)) < 0.5
    mask[:, 0] = False
    case.hidden = mask.view(3, 1, 1, 70)
    check_padded(case, "BNSD", attenMaskOptional=mask)


INT8 = torch.zeros(3, 2, 37, 16, dtype=torch.int8)
ONES = torch.ones(2 * 16)
SCALES = {"keyAntiquantScaleOptional": ONES, "valueAntiquantScaleOptional": ONES}
CACHE = {"key": [INT8], "value": [INT8]}
PREFIX = {n: torch.ones(1, 2, 8, 16) for n in ("keySharedPrefixOptional", "valueSharedPrefixOptional")}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (CACHE, r"key is int8\[3,2,37,16\], wanted float32, float16, bfloat16 or int8 as query float32"),
        (SCALES, r"key is float32\[3,2,37,16\] and has scales, wanted int8"),
        (CACHE | {"keyAntiquantScaleOptional": ONES, "value": [torch.ones(3, 2, 37, 16)]}, "of keyAntiquantScale and valueAntiquantScale one is null"),
        (CACHE | SCALES | {"keyAntiquantMode": 1}, r"keyAntiquantScale is float32\[32\], mode 1 wants floats \[batches,positions\]"),
        (CACHE | SCALES | {"keyAntiquantMode": 4}, "mode 4 wants floats .pages,positions of a page., with blockTable"),
        (CACHE | SCALES | {"keyAntiquantMode": 6}, "the mode of keyAntiquant is 6, wanted 0 to 5"),
        (CACHE | SCALES | {"keyAntiquantOffsetOptional": ONES}, "of keyAntiquantOffset and valueAntiquantOffset one is null"),
        (CACHE | SCALES | {"keyAntiquantOffsetOptional": ONES[:1], "valueAntiquantOffsetOptional": ONES[:1]}, r"keyAntiquantOffset is float32\[1\], wanted the shape of its scale"),
        (CACHE | {"antiquantScaleOptional": ONES}, r"antiquantScale is float32\[32\], mode 0 wants floats .* those of keys and then those of values"),
        ({"keySharedPrefixOptional": torch.ones(1, 2, 8, 16)}, "of keySharedPrefix and valueSharedPrefix one is null"),
        (PREFIX | {"keySharedPrefixOptional": torch.ones(1, 2, 9, 16)}, "differ in their positions"),
        (PREFIX | {"keySharedPrefixOptional": torch.ones(1, 3, 8, 16)}, "wanted 2 heads"),
        (PREFIX | {"actualSharedPrefixLenOptional": IntArray([9])}, "the first 9, wanted one of 0 to 8"),
        (PREFIX | {"kvPaddingSizeOptional": torch.tensor([1])}, "keySharedPrefix is not supported with"),
        ({"kvPaddingSizeOptional": torch.tensor([1, 2])}, r"kvPaddingSize is int64\[2\], wanted one integer"),
        ({"queryPaddingSizeOptional": torch.tensor([2**62])}, "batch 0 has 3 positions of query and 4611686018427387904 of padding behind them, but only 5 in all"),
        ({"key": [torch.ones(1, 2, 37, 16)] * 2, "value": [torch.ones(1, 2, 37, 16)] * 2}, "key is a list of 2 tensors; it is one for each of 3 batches"),
        ({"key": [torch.ones(1, 2, 37, 16)] * 3}, "key is a list of 3 tensors and value one of 1"),
        ({"key": [torch.ones(1, 2, 37, 16)] * 3, "value": [torch.ones(1, 2, n, 16) for n in (37, 37, 36)]}, "value 2 is .* wanted one batch of 37 positions"),
        ({"deqScale1Optional": torch.ones(1)}, "deqScale1 is given, it is of queries of int8"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(change: dict, message: str) -> None:
    case = make_case(ragged=False)
    case.q_lengths = [3, 3, 3]
    with pytest.raises(OperatorError, match=message):
        run_padded(case, "BNSD", **change)


def test_lengths_beyond_a_batches_tensor_are_named() -> None:
    case = make_case()
    lists = [torch.ones(1, 2, n, 16) for n in (37, 20, 37)]
    with pytest.raises(OperatorError, match=r"actualSeqLengthsKv\[1\] is 21, key 1 is float32\[1,2,20,16\]"):
        run_padded(case, "BNSD", key=lists, value=lists, actualSeqLengthsKvOptional=IntArray([37, 21, 1]))
