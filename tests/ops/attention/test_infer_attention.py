# SPDX-License-Identifier: Apache-2.0
"""aclnnFusedInferAttentionScore*, IncreFlashAttention, PromptFlashAttention against attention written out in float64."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
import torch
from aclnn import IntArray, OperatorError, call, signatures

FULL = 2147483647
FUSED = "aclnnFusedInferAttentionScoreV"
# Error allowed relative to the largest element: rounding of inputs and output of the type, float32 accumulation.
TOLERANCE = {torch.float32: 4e-6, torch.float16: 2e-3, torch.bfloat16: 8e-3}
# From [B, N, S, D], and back.
PADDED = {
    "BNSD": (lambda t: t, lambda t, n: t),
    "BSND": (lambda t: t.transpose(1, 2), lambda t, n: t.transpose(1, 2)),
    "BSH": (lambda t: t.transpose(1, 2).flatten(2), lambda t, n: t.unflatten(2, (n, -1)).transpose(1, 2)),
    "NBSD": (lambda t: t.transpose(0, 1), lambda t, n: t.transpose(0, 1)),
}


@dataclass
class Case:
    """q, k, v [B, N, S, D], lengths of each batch, what is hidden [B, 1, Sq, Skv]."""

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    q_lengths: list[int]
    kv_lengths: list[int]
    hidden: torch.Tensor | None = None
    bias: torch.Tensor | None = None
    sink: torch.Tensor | None = None
    options: dict = field(default_factory=dict)

    @property
    def scale(self) -> float:
        return self.q.shape[-1] ** -0.5


def make_case(b=3, n=4, nkv=2, sq=5, skv=37, d=16, dv=None, dtype=torch.float32, ragged=True, seed=0) -> Case:
    g = torch.Generator().manual_seed(seed)
    q, k, v = (
        torch.randn(s, generator=g).to(dtype)
        for s in ((b, n, sq, d), (b, nkv, skv, d), (b, nkv, skv, dv or d))
    )
    lengths = [torch.randint(1, m + 1, (b,), generator=g).tolist() if ragged else [m] * b for m in (sq, skv)]
    return Case(q, k, v, *lengths)


def reference(c: Case) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows behind a batch's length are zero."""
    b, n, sq, _ = c.q.shape
    out, lse = torch.zeros(b, n, sq, c.v.shape[-1]).double(), torch.zeros(b, n, sq).double()
    group = n // c.k.shape[1]
    for i, (rows, keys) in enumerate(zip(c.q_lengths, c.kv_lengths, strict=True)):
        k, v = (t[i, :, :keys].double().repeat_interleave(group, 0) for t in (c.k, c.v))
        scores = c.q[i, :, :rows].double() @ k.transpose(1, 2) * c.scale
        if c.bias is not None:
            scores = scores + c.bias[i, :, :rows, :keys].double()
        if c.hidden is not None:
            scores = scores.masked_fill(c.hidden[i, :, :rows, :keys], -math.inf)
        if c.sink is not None:
            sink = c.sink.double().view(n, 1, 1).expand(n, rows, 1)
            scores, v = torch.cat([scores, sink], 2), torch.cat([v, torch.zeros_like(v[:, :1])], 1)
        lse[i, :, :rows] = scores.logsumexp(2)
        out[i, :, :rows] = scores.softmax(2).nan_to_num() @ v
    return out, lse


def packed(t: torch.Tensor, lengths: list[int]) -> torch.Tensor:
    """[T, N, D] of [B, N, S, D]."""
    return torch.cat([t[i, :, :m].transpose(0, 1) for i, m in enumerate(lengths)])


def unpacked(t: torch.Tensor, lengths: list[int], like: torch.Tensor) -> torch.Tensor:
    result = torch.zeros(*like.shape[:3], t.shape[-1], dtype=t.dtype)
    for i, part in enumerate(t.split(lengths)):
        result[i, :, : lengths[i]] = part.transpose(0, 1)
    return result


def paged(t: torch.Tensor, lengths: list[int], rows: int, order: torch.Tensor, flat: bool) -> torch.Tensor:
    """Pages [pages, N, rows, D], or [pages, rows, N * D]; what no batch has is NaN."""
    cache = torch.full((order.numel(), t.shape[1], rows, t.shape[3]), math.nan, dtype=t.dtype)
    for i, length in enumerate(lengths):
        for at in range(length):
            cache[order[i, at // rows], :, at % rows] = t[i, :, at]
    return cache.transpose(1, 2).flatten(2).contiguous() if flat else cache


def arguments(name: str, values: dict) -> list:
    unknown = values.keys() - {p for _, p in signatures()[name]}
    assert not unknown, unknown
    return [values.get(p, None if "*" in kind else 0) for kind, p in signatures()[name]]


def close(got: torch.Tensor, want: torch.Tensor, dtype: torch.dtype) -> None:
    assert ((got.double() - want).abs().max() / want.abs().max().clamp(min=1)).item() <= TOLERANCE[dtype]


def options(c: Case, layout: str, out: torch.Tensor) -> dict:
    return {
        "numHeads": c.q.shape[1], "numKeyValueHeads": c.k.shape[1], "scaleValue": c.scale, "preTokens": FULL,
        "nextTokens": FULL, "inputLayout": layout, "attentionOut": out,
    } | c.options  # fmt: skip


def run_padded(c: Case, layout: str, version: int = 2, **more) -> tuple[torch.Tensor, torch.Tensor]:
    come, _, go = layout.partition("_")
    put, back = PADDED[come][0], PADDED[go or come][1]
    b, n, sq, _ = c.q.shape
    shape = PADDED[go or come][0](torch.empty(b, n, sq, c.v.shape[-1])).shape
    unset = math.nan if c.q.is_floating_point() else 77
    out, lse = torch.full(shape, unset, dtype=c.q.dtype), torch.full((b, n, sq, 1), math.nan)
    values = options(c, layout, out) | {
        "query": put(c.q).contiguous(), "key": [put(c.k).contiguous()],
        "value": [put(c.v).contiguous()], "actualSeqLengthsOptional": IntArray(c.q_lengths),
        "actualSeqLengthsKvOptional": IntArray(c.kv_lengths), "softmaxLseFlag": True, "softmaxLse": lse,
        "pseShiftOptional": c.bias,
    } | more  # fmt: skip
    call(f"{FUSED}{version}", *arguments(f"{FUSED}{version}", values))
    return back(out, n), lse[..., 0]


def check_padded(c: Case, layout: str, version: int = 2, **more) -> None:
    (out, lse), (want, want_lse) = run_padded(c, layout, version, **more), reference(c)
    close(out, want, c.q.dtype)
    torch.testing.assert_close(lse.double(), want_lse, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("layout", ["BNSD", "BSND", "BSH", "BNSD_BSND", "BSH_NBSD", "BSND_BNSD", "BNSD_NBSD"])
def test_padded_layouts(layout: str, dtype: torch.dtype) -> None:
    check_padded(make_case(dtype=dtype), layout)


@pytest.mark.parametrize("version", [2, 3, 4, 5])
def test_every_version_and_lengths_of_none(version: int) -> None:
    case = make_case(ragged=False, dv=24)
    check_padded(case, "BNSD", version, actualSeqLengthsOptional=None, actualSeqLengthsKvOptional=None)
    case = make_case(ragged=False)
    case.kv_lengths = [20, 20, 20]
    check_padded(
        case, "BSND", version, actualSeqLengthsOptional=None, actualSeqLengthsKvOptional=IntArray([20])
    )


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", [(5, 37, 16, 24), (1, 300, 64, 32), (150, 270, 16, 16)])
def test_one_batch_without_its_dimension(shape: tuple[int, int, int, int], dtype: torch.dtype) -> None:
    sq, skv, d, dv = shape
    case = make_case(b=1, sq=sq, skv=skv, d=d, dv=dv, dtype=dtype)
    out, lse = torch.full((4, sq, dv), math.nan, dtype=dtype), torch.full((4, sq, 1), math.nan)
    values = options(case, "NSD", out) | {
        "query": case.q[0], "key": [case.k[0]], "value": [case.v[0]], "softmaxLseFlag": True, "softmaxLse": lse,
        "actualSeqLengthsOptional": IntArray(case.q_lengths), "actualSeqLengthsKvOptional": IntArray(case.kv_lengths),
    }  # fmt: skip
    call(f"{FUSED}5", *arguments(f"{FUSED}5", values))
    want, want_lse = reference(case)
    close(out, want[0], dtype)
    torch.testing.assert_close(lse[..., 0].double(), want_lse[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layout", ["TND", "NTD", "TND_NTD", "NTD_TND"])
@pytest.mark.parametrize("shape", [(5, 37, 16), (150, 270, 64)])
def test_packed_layouts(layout: str, shape: tuple[int, int, int]) -> None:
    case = make_case(sq=shape[0], skv=shape[1], d=shape[2])
    come, _, go = layout.partition("_")
    turn = {"TND": lambda t: t, "NTD": lambda t: t.transpose(0, 1)}
    tensors = [
        packed(t, m)
        for t, m in ((case.q, case.q_lengths), (case.k, case.kv_lengths), (case.v, case.kv_lengths))
    ]
    q, k, v = (turn[come](t).contiguous() for t in tensors)
    out = torch.full_like(turn[go or come](tensors[0]).contiguous(), math.nan)
    lse = torch.full((*tensors[0].shape[:2], 1), math.nan)
    totals = [IntArray(torch.tensor(m).cumsum(0).tolist()) for m in (case.q_lengths, case.kv_lengths)]
    values = options(case, layout, out) | {
        "query": q, "key": [k], "value": [v], "actualSeqLengthsOptional": totals[0],
        "actualSeqLengthsKvOptional": totals[1], "softmaxLseFlag": True, "softmaxLse": lse,
    }  # fmt: skip
    call(f"{FUSED}2", *arguments(f"{FUSED}2", values))
    want, want_lse = reference(case)
    close(unpacked(turn[go or come](out), case.q_lengths, case.q), want, torch.float32)
    got = unpacked(lse, case.q_lengths, case.q)[..., 0]
    torch.testing.assert_close(got.double(), want_lse, rtol=1e-5, atol=1e-5)


def table_of(case: Case, rows: int) -> torch.Tensor:
    pages = -(-case.k.shape[2] // rows)
    return torch.randperm(len(case.kv_lengths) * pages, generator=torch.Generator().manual_seed(1)).view(
        -1, pages
    )


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("rows", [16, 128])
def test_keys_in_pages(rows: int, flat: bool, dtype: torch.dtype) -> None:
    """Pages in any order; what the table has behind a batch's keys is not looked at."""
    case = make_case(b=4, sq=1, skv=300, d=64, dv=32, dtype=dtype)
    case.q_lengths = [1] * 4
    order = table_of(case, rows)
    table = order.int()
    for i, length in enumerate(case.kv_lengths):
        table[i, -(-length // rows) :] = -1
    k, v = ([paged(t, case.kv_lengths, rows, order, flat)] for t in (case.k, case.v))
    check_padded(case, "BSND", key=k, value=v, blockTableOptional=table, blockSize=rows)
    out = torch.full((4, 1, 4 * 32), math.nan, dtype=dtype)
    values = {
        "query": PADDED["BSH"][0](case.q).contiguous(), "key": k, "value": v, "blocktable": table, "blockSize": rows,
        "actualSeqLengths": IntArray(case.kv_lengths), "numHeads": 4, "numKeyValueHeads": 2, "scaleValue": case.scale,
        "inputLayout": "BSH", "attentionOut": out,
    }  # fmt: skip
    call("aclnnIncreFlashAttentionV4", *arguments("aclnnIncreFlashAttentionV4", values))
    close(PADDED["BSH"][1](out, 4), reference(case)[0], dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("group", [1, 2, 3, 5, 8, 15])
@pytest.mark.parametrize(
    ("keys", "d", "dv"), [(1, 64, 64), (37, 33, 40), (129, 130, 17), (255, 64, 96), (20, 516, 8)]
)
def test_a_step_of_decoding(keys: int, d: int, dv: int, group: int, dtype: torch.dtype) -> None:
    """Few rows are multiplied where keys and values lie, heads apart or side by side: all rests of rows, keys and columns."""
    case = make_case(b=2, n=2 * group, nkv=2, sq=1, skv=keys, d=d, dv=dv, dtype=dtype, ragged=False)
    check_padded(case, "BNSD")
    check_padded(case, "BSND")


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_step_of_decoding_over_long_keys(dtype: torch.dtype) -> None:
    """Keys are passed over in sections of 4096, each as if alone: a batch has the same bits beside others, short or none."""
    case = make_case(b=4, n=4, nkv=2, sq=1, skv=8500, d=32, dtype=dtype)
    case.kv_lengths = [8500, 4096, 4097, 70]
    check_padded(case, "BSND")
    whole, whole_lse = run_padded(case, "BNSD")
    for i, length in enumerate(case.kv_lengths):
        alone = Case(
            *(t[i : i + 1, :, :n] for t, n in ((case.q, 1), (case.k, length), (case.v, length))),
            [1],
            [length],
        )
        out, lse = run_padded(alone, "BNSD")
        assert torch.equal(out[0], whole[i]) and torch.equal(lse[0], whole_lse[i])


def test_sections_without_a_key_that_is_seen() -> None:
    """All of a section hidden, then all of a row; a sink; a NaN and an infinity among the keys of one section."""
    case = make_case(b=3, n=2, nkv=1, sq=1, skv=8300, d=16, ragged=False)
    case.hidden = torch.zeros(3, 1, 1, 8300, dtype=torch.bool)
    case.hidden[0, ..., :4200], case.hidden[1] = True, True
    (out, lse), (want, want_lse) = (
        run_padded(case, "BNSD", attenMaskOptional=case.hidden, sparseMode=0),
        reference(case),
    )
    want_lse[1] = math.inf
    close(out, want, torch.float32)
    torch.testing.assert_close(lse.double(), want_lse, rtol=1e-5, atol=1e-5)
    case.sink = torch.tensor([0.5, -1.0])
    check_padded(
        case, "BNSD", 4, attenMaskOptional=case.hidden, sparseMode=0, learnableSinkOptional=case.sink
    )
    case.hidden = case.sink = None
    case.k[0, 0, 8200, 3], case.v[1, 0, 4100, 5] = math.nan, math.inf
    out, lse = run_padded(case, "BNSD")
    assert out[0].isnan().all() and lse[0].isnan().all()
    assert out[1, ..., 5].isinf().all() and out[1].isfinite().sum() == out[1].numel() - 2
    close(out[2], reference(case)[0][2], torch.float32)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_value_that_is_not_finite_stays_in_its_column(dtype: torch.dtype) -> None:
    case = make_case(b=1, n=4, nkv=1, sq=1, skv=37, d=32, dtype=dtype, ragged=False)
    case.v[0, 0, 36, 5] = math.inf
    out, _ = run_padded(case, "BNSD")
    assert out[..., 5].isinf().all() and out.isfinite().sum() == out.numel() - 4


def test_packed_queries_over_pages() -> None:
    case = make_case(b=4, sq=9, skv=70, d=32)
    order = table_of(case, 16)
    q = packed(case.q, case.q_lengths)
    out = torch.full_like(q, math.nan)
    values = options(case, "TND", out) | {
        "query": q, "key": [paged(case.k, case.kv_lengths, 16, order, True)],
        "value": [paged(case.v, case.kv_lengths, 16, order, True)], "blockTableOptional": order.int(),
        "blockSize": 16, "actualSeqLengthsKvOptional": IntArray(case.kv_lengths),
        "actualSeqLengthsOptional": IntArray(torch.tensor(case.q_lengths).cumsum(0).tolist()),
    }  # fmt: skip
    call(f"{FUSED}2", *arguments(f"{FUSED}2", values))
    close(unpacked(out, case.q_lengths, case.q), reference(case)[0], torch.float32)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_rotated_parts_apart(dtype: torch.dtype) -> None:
    """Latent attention: one key head, whose values are its first elements, in pages."""
    case = make_case(b=2, n=8, nkv=1, sq=3, skv=50, d=40, dv=32, dtype=dtype)
    case.v = case.k[..., :32].contiguous()
    order = table_of(case, 16)
    rest, rope = (paged(t, case.kv_lengths, 16, order, True) for t in (case.k[..., :32], case.k[..., 32:]))
    check_padded(
        case, "BNSD", 3, query=case.q[..., :32].contiguous(), queryRopeOptional=case.q[..., 32:].contiguous(),
        key=[rest], value=[rest.clone()], keyRopeOptional=rope, blockTableOptional=order.int(),
        blockSize=16,
    )  # fmt: skip


@pytest.mark.parametrize("sparse", [0, 2, 3, 4])
def test_masks(sparse: int) -> None:
    case = make_case(sq=40, skv=150)
    b, sq, skv = 3, 40, 150
    i, j = torch.arange(sq).view(-1, 1), torch.arange(skv).view(1, -1)
    hidden = torch.zeros(b, 1, sq, skv, dtype=torch.bool)
    for batch, (rows, keys) in enumerate(zip(case.q_lengths, case.kv_lengths, strict=True)):
        corner = keys - rows if sparse in (3, 4) else 0
        hidden[batch] = (j > i + corner) if sparse != 4 else (j > i + corner + 3) | (j < i + corner - 20)
    mask = torch.triu(torch.ones(2048, 2048), 1).bool()
    case.options = {"sparseMode": sparse}
    if sparse == 0:
        mask = torch.rand(b, 1, sq, skv + 10, generator=torch.Generator().manual_seed(2)) < 0.7
        hidden = mask[..., :skv]
        hidden[0, 0, 0] = mask[0, 0, 0] = True  # a row that sees nothing
    if sparse == 4:
        case.options |= {"preTokens": 20, "nextTokens": 3}
    case.hidden = hidden
    out, lse = run_padded(case, "BNSD", attenMaskOptional=mask)
    want, want_lse = reference(case)
    close(out, want, torch.float32)
    want_lse = torch.where(want_lse == -math.inf, math.inf, want_lse)  # as the interface has it
    torch.testing.assert_close(lse.double(), want_lse, rtol=1e-5, atol=1e-5)


def test_bias_sink_and_slopes() -> None:
    case = make_case(sq=6, skv=20)
    case.bias = torch.randn(3, 4, 6, 20, generator=torch.Generator().manual_seed(3))
    case.sink = torch.randn(4, generator=torch.Generator().manual_seed(4))
    check_padded(case, "BNSD", 4, learnableSinkOptional=case.sink)
    case.sink = case.sink.bfloat16()
    check_padded(case, "BNSD", 4, learnableSinkOptional=case.sink)
    check_padded(case, "BNSD", 4, learnableSinkOptional=case.sink.repeat_interleave(2)[::2])
    case.sink = None
    slopes = torch.tensor([0.5, 0.25, 0.1, 0.03])
    distance = (torch.arange(20).view(1, -1) - torch.arange(6).view(-1, 1)).abs()
    case.bias = (-slopes.view(1, 4, 1, 1) * distance).expand(3, 4, 6, 20)
    check_padded(case, "BNSD", 5, pseShiftOptional=slopes, pseType=2)


def test_prompts() -> None:
    case = make_case(sq=30, skv=30)
    case.hidden = torch.triu(torch.ones(30, 30), 1).bool().expand(3, 1, 30, 30)
    out = torch.full_like(case.q, math.nan)
    values = options(case, "BNSD", out) | {
        "query": case.q, "key": case.k, "value": case.v, "actualSeqLengths": IntArray(case.q_lengths),
        "actualSeqLengthsKv": IntArray(case.kv_lengths), "attenMask": case.hidden[:, 0].contiguous(),
    }  # fmt: skip
    call("aclnnPromptFlashAttentionV3", *arguments("aclnnPromptFlashAttentionV3", values))
    close(out, reference(case)[0], torch.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputLayout": "SBH"}, 'inputLayout is "SBH", wanted BSH'),
        ({"inputLayout": "BNSD_TND"}, 'inputLayout is "BNSD_TND"'),
        ({"inputLayout": "BNSD_NSD"}, 'inputLayout is "BNSD_NSD"'),
        ({"inputLayout": "NSD_BNSD"}, 'inputLayout is "NSD_BNSD"'),
        ({"inputLayout": "NSD"}, r"query is float32\[3,4,5,16\], layout NSD wants 3 dimensions"),
        ({"numKeyValueHeads": 3}, "4 query heads are not a multiple of 3 key heads"),
        ({"actualSeqLengthsKvOptional": IntArray([1, 2])}, "actualSeqLengthsKv has 2 numbers, wanted 1 or at least 3"),
        ({"actualSeqLengthsKvOptional": IntArray([38])}, r"actualSeqLengthsKv\[0\] is 38, wanted 0 to 37"),
        ({"actualSeqLengthsOptional": IntArray([-1, 2, 3])}, r"actualSeqLengths\[0\] is -1"),
        ({"sparseMode": 7}, "sparseMode is 7, wanted 0 to 4"),
        ({"quantScale2Optional": torch.ones(1)}, "attentionOut is float32.* with quantScale2, wanted int8"),
        ({"softmaxLse": torch.empty(3)}, r"softmaxLse is float32\[3\], wanted 60"),
        ({"attenMaskOptional": torch.ones(2, 2).bool()}, r"attenMask is bool\[2,2\], wanted at least \[5,37\]"),
        ({"value": []}, "value is null"),
        ({"key": [torch.ones(1, 2, 37, 16)] * 3}, "key is a list of 3 tensors"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(change: dict, message: str) -> None:
    with pytest.raises(OperatorError, match=message):
        run_padded(make_case(), "BNSD", **change) if "inputLayout" not in change else call_layout(
            change["inputLayout"]
        )


def call_layout(layout: str) -> None:
    case = make_case()
    values = options(case, layout, torch.empty_like(case.q)) | {
        "query": case.q, "key": [case.k], "value": [case.v]
    }  # fmt: skip
    call(f"{FUSED}2", *arguments(f"{FUSED}2", values))


@pytest.mark.parametrize("page", [-1, 12, 2**31 - 1])
def test_a_page_that_does_not_exist_is_named(page: int) -> None:
    case = make_case(b=4, sq=1, skv=40)
    case.q_lengths, case.kv_lengths = [1] * 4, [40] * 4
    order = table_of(case, 16)
    k, v = ([paged(t, case.kv_lengths, 16, order, True)] for t in (case.k, case.v))
    table = order.int()
    table[2, 1] = page
    with pytest.raises(OperatorError, match=rf"blockTable\[2\]\[1\] is {page}, key .* has pages 0 to 11"):
        run_padded(case, "BNSD", key=k, value=v, blockTableOptional=table, blockSize=16)
