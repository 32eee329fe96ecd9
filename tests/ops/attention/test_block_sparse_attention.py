# SPDX-License-Identifier: Apache-2.0
"""aclnnBlockSparseAttention and its gradient against attention written out in float64 with a mask of elements."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import pytest
import torch
from aclnn import IntArray, OperatorError, call

# Error allowed relative to the largest element: rounding of inputs and output of the dtype, float32 accumulation.
TOLERANCE = {torch.float32: 4e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
SCALE, FULL = 0.3, 2147483647


@dataclass
class Case:
    """Sequences of one call; [T, N, D] of each, or one [B, N, S, D] with lengths in it."""

    layout: str
    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    mask: torch.Tensor | None
    shape: tuple[int, int]
    lengths: list[int] | None
    lengths_kv: list[int] | None


def make_case(
    layout: str,
    lengths: list[int],
    lengths_kv: list[int],
    shape: tuple[int, int] = (128, 128),
    heads: tuple[int, int] = (4, 2),
    d: int = 16,
    dv: int | None = None,
    dtype: torch.dtype = torch.float32,
    share: float = 0.5,
    ragged: bool = True,
) -> Case:
    """`share` of the blocks are seen."""
    g = torch.Generator().manual_seed(len(lengths) + d)
    b, (n, nkv), sq, skv = len(lengths), heads, max(lengths), max(lengths_kv)
    if layout == "TND":
        shapes = (sum(lengths), n, d), (sum(lengths_kv), nkv, d), (sum(lengths_kv), nkv, dv or d)
    else:
        shapes = (b, n, sq, d), (b, nkv, skv, d), (b, nkv, skv, dv or d)
    q, k, v = (torch.randn(s, generator=g).to(dtype) for s in shapes)
    blocks = (b, n, -(-sq // shape[0]), -(-skv // shape[1]))
    mask = (torch.rand(blocks, generator=g) < share).to(torch.int8)
    return Case(layout, q, k, v, mask, shape, lengths if ragged else None, lengths_kv if ragged else None)


def sequences(c: Case, t: torch.Tensor, lengths: list[int]) -> list[torch.Tensor]:
    """[N, S, D] of each, as views."""
    if c.layout == "TND":
        ends = list(itertools.accumulate(lengths))
        return [t[end - n : end].transpose(0, 1) for n, end in zip(lengths, ends, strict=True)]
    return [t[b, :, :length] for b, length in enumerate(lengths)]


def reference(c: Case, dy: torch.Tensor) -> dict[str, torch.Tensor]:
    """Zeros, and lse that are not looked at, for what is behind a sequence's length."""
    lengths = c.lengths or [c.q.shape[2]] * c.q.shape[0]
    lengths_kv = c.lengths_kv or [c.k.shape[2]] * c.k.shape[0]
    q, k, v = (t.double().requires_grad_() for t in (c.q, c.k, c.v))
    group = c.q.shape[1] // c.k.shape[1]
    out = (
        torch.zeros(*c.q.shape[:-1], c.v.shape[-1], dtype=torch.double) + 0 * q.sum()
    )  # to be filled in place
    lse = torch.zeros(*c.q.shape[:-1], 1, dtype=torch.double)
    parts = [
        sequences(c, t, n)
        for t, n in ((q, lengths), (k, lengths_kv), (v, lengths_kv), (out, lengths), (lse, lengths))
    ]
    for b, (qs, ks, vs, o, e) in enumerate(zip(*parts, strict=True)):
        scores = SCALE * qs @ ks.repeat_interleave(group, 0).transpose(1, 2)
        if c.mask is not None:
            seen = c.mask[b].repeat_interleave(c.shape[0], 1).repeat_interleave(c.shape[1], 2)
            scores = scores.masked_fill(seen[:, : scores.shape[1], : scores.shape[2]] == 0, -math.inf)
        none = (
            torch.isneginf(scores).all(-1, keepdim=True)
            if scores.shape[2] > 0
            else torch.ones(*scores.shape[:2], 1).bool()
        )
        p = torch.where(
            none, torch.zeros_like(scores), torch.where(none, torch.zeros_like(scores), scores).softmax(-1)
        )
        o += p @ vs.repeat_interleave(group, 0)
        e.copy_(torch.where(none, torch.full_like(e, math.inf), scores.logsumexp(-1, keepdim=True)).detach())
    out.backward(dy.double())
    return {"out": out.detach(), "lse": lse, "dq": q.grad, "dk": k.grad, "dv": v.grad}


def run(c: Case, dy: torch.Tensor) -> dict[str, torch.Tensor]:
    f = {
        name: torch.full_like(t, math.nan) for name, t in (("out", dy), ("dq", c.q), ("dk", c.k), ("dv", c.v))
    }
    f["lse"] = torch.full((*c.q.shape[:-1], 1), math.nan)
    lengths, lengths_kv = (IntArray(x) if x is not None else None for x in (c.lengths, c.lengths_kv))
    common = [c.mask, None, IntArray(c.shape), lengths, lengths_kv]
    layouts = [c.layout, c.layout, c.k.shape[1], 0, SCALE]
    call(
        "aclnnBlockSparseAttention",
        c.q,
        c.k,
        c.v,
        *common,
        None,
        *layouts,
        0,
        0,
        FULL,
        FULL,
        1,
        f["out"],
        f["lse"],
    )
    call("aclnnBlockSparseAttentionGrad", dy, c.q, c.k, c.v, f["out"], f["lse"], *common, *layouts, FULL, FULL,
         f["dq"], f["dk"], f["dv"])  # fmt: skip
    return f


def check(c: Case) -> None:
    dy = torch.randn(*c.q.shape[:-1], c.v.shape[-1], generator=torch.Generator().manual_seed(9)).to(c.q.dtype)
    got, want = run(c, dy), reference(c, dy)
    torch.testing.assert_close(got["lse"].double(), want.pop("lse"), rtol=1e-5, atol=1e-5)
    for name, w in want.items():
        error = (got[name].double() - w).abs().max().item() if w.numel() > 0 else 0.0
        allowed = (
            TOLERANCE[c.q.dtype]
            * max(1.0, w.abs().max().item() if w.numel() > 0 else 0)
            * (4 if name.startswith("d") else 1)
        )
        assert error <= allowed, f"{name}: error {error}, allowed {allowed}"


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("layout", ["BNSD", "TND"])
def test_layouts_and_dtypes(layout: str, dtype: torch.dtype) -> None:
    check(make_case(layout, [300, 129], [270, 400], dtype=dtype))


@pytest.mark.parametrize(
    "shape", [(1, 128), (8, 128), (37, 256), (64, 384), (128, 128), (200, 128), (5000, 1280)], ids=str
)
@pytest.mark.parametrize("layout", ["BNSD", "TND"])
def test_shapes_of_blocks(layout: str, shape: tuple[int, int]) -> None:
    check(make_case(layout, [261], [515], shape=shape, heads=(2, 2)))


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_rows_that_see_nothing_are_zeros(share: float) -> None:
    check(make_case("BNSD", [140, 140], [260, 260], shape=(16, 128), share=share, ragged=False))


@pytest.mark.parametrize("layout", ["BNSD", "TND"])
def test_sequences_of_no_and_one_position(layout: str) -> None:
    check(make_case(layout, [1, 0, 64, 130], [128, 3, 0, 257]))
    check(make_case(layout, [1], [1], heads=(8, 1)))
    check(make_case(layout, [0], [5]))


def test_without_a_mask_all_is_seen() -> None:
    c = make_case("TND", [30, 7], [150, 9])
    c.mask = None
    check(c)


def test_grouped_heads_and_narrow_values() -> None:
    check(make_case("BNSD", [150], [300], heads=(6, 2), d=128, dv=64, dtype=torch.bfloat16))
    check(make_case("TND", [150], [300], heads=(8, 1), d=24, dv=40))


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int32], ids=str)
def test_mask_of_another_type_or_strided(dtype: torch.dtype) -> None:
    c = make_case("BNSD", [150], [300], shape=(16, 128))
    mask = c.mask
    assert mask is not None
    c.mask = mask.int() * 256 if dtype == torch.int32 else mask.to(dtype)
    dy = torch.ones_like(c.q)
    plain = run(c, dy)
    c.mask = mask.transpose(2, 3).contiguous().transpose(2, 3)
    for name, t in run(c, dy).items():
        assert torch.equal(t, plain[name])
    c.mask = mask
    check(c)


def test_lse_is_left_alone_where_it_is_not_asked_for() -> None:
    c = make_case("BNSD", [20], [30], ragged=False)
    lse, out = torch.full((1, 4, 20, 1), 7.0), torch.empty_like(c.q)
    call("aclnnBlockSparseAttention", c.q, c.k, c.v, c.mask, None, None, None, None, None, "BNSD", "BNSD", 2, 0, SCALE,
         1, 0, FULL, FULL, 0, out, lse)  # fmt: skip
    assert (lse == 7).all()


def test_nan_stays_in_its_rows() -> None:
    c = make_case("BNSD", [140], [256], heads=(1, 1), share=1.0)
    c.q[0, 0, 5, 0] = math.nan
    got = run(c, torch.ones_like(c.q))["out"][0, 0]
    assert got[5].isnan().all() and got.isfinite().all(1).sum() == 139


CASES: list[tuple[dict, str]] = [
    ({"qInputLayout": "BSND"}, 'qInputLayout is "BSND", wanted TND or BNSD'),
    ({"kvInputLayout": "TND"}, 'kvInputLayout is "TND", wanted that of query, BNSD'),
    ({"query": None}, "query is null"),
    ({"value": None}, "value is null"),
    ({"numKeyValueHeads": 3}, "numKeyValueHeads is 3, key is float32"),
    ({"maskType": 1}, "maskType is 1, wanted 0"),
    ({"attenMaskOptional": torch.ones(3, 3).bool()}, "attenMaskOptional is bool.3,3.; masks of elements are not supported"),
    ({"blockShapeOptional": IntArray([128])}, "blockShape has 1 number"),
    ({"blockShapeOptional": IntArray([0, 128])}, r"blockShape is \[0,128\]"),
    ({"blockShapeOptional": IntArray([16, 64])}, r"blockShape is \[16,64\], .* a multiple of 128"),
    ({"blockSparseMaskOptional": torch.ones(1, 4, 1, 2).float()}, "blockSparseMask is float32"),
    ({"blockSparseMaskOptional": torch.ones(1, 4, 2, 1).to(torch.int8)}, r"blockSparseMask is int8\[1,4,2,1\], wanted \[1,4,1,1\]"),
    ({"actualSeqLengthsOptional": IntArray([20])}, "actualSeqLengths has 1 numbers and actualSeqLengthsKv 0"),
    ({"actualSeqLengthsOptional": IntArray([21]), "actualSeqLengthsKvOptional": IntArray([30])}, "actualSeqLengths of batch 0 is 21"),
    ({"actualSeqLengthsOptional": IntArray([2]), "actualSeqLengthsKvOptional": IntArray([-1])}, "actualSeqLengthsKv of batch 0 is -1"),
    ({"innerPrecise": 2}, "innerPrecise is 2"),
    ({"softmaxLseFlag": 2}, "softmaxLseFlag is 2"),
    ({"softmaxLseOptional": None}, "softmaxLseOptional is null"),
    ({"softmaxLseOptional": torch.ones(4)}, "softmaxLse is float32.4., wanted 80"),
    ({"blockTableOptional": torch.ones(1, 1).int()}, "blockTableOptional is int32.1,1.; keys in pages"),
    ({"attentionOut": torch.ones(3)}, "attentionOut is float32.3."),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), CASES, ids=[str(i) for i in range(len(CASES))])
def test_bad_input_is_named(change: dict, message: str) -> None:
    c = make_case("BNSD", [20], [30], ragged=False)
    values = {
        "query": c.q, "key": c.k, "value": c.v, "blockSparseMaskOptional": c.mask, "attenMaskOptional": None,
        "blockShapeOptional": IntArray([128, 128]), "actualSeqLengthsOptional": None, "actualSeqLengthsKvOptional": None,
        "blockTableOptional": None, "qInputLayout": "BNSD", "kvInputLayout": "BNSD", "numKeyValueHeads": 2, "maskType": 0,
        "scaleValue": SCALE, "innerPrecise": 0, "blockSize": 0, "preTokens": FULL, "nextTokens": FULL, "softmaxLseFlag": 1,
        "attentionOut": torch.empty_like(c.q), "softmaxLseOptional": torch.empty(1, 4, 20, 1),
    } | change  # fmt: skip
    with pytest.raises(OperatorError, match=f"aclnnBlockSparseAttention: .*{message}"):
        call("aclnnBlockSparseAttention", *values.values())


def test_bad_input_of_the_gradient_is_named() -> None:
    c = make_case("TND", [20], [30])
    lse, lengths, shape = torch.ones(20, 4, 1), (IntArray([20]), IntArray([30])), IntArray([128, 128])
    inputs, options = (
        [c.q, c.q, c.k, c.v, c.q, lse],
        [c.mask, None, shape, *lengths, "TND", "TND", 2, 0, SCALE, FULL, FULL],
    )
    outputs = [torch.empty_like(t) for t in (c.q, c.k, c.v)]
    for at, bad, message in (
        (0, torch.ones(3), "dout is float32.3."),
        (4, torch.ones(3), "attentionOut is float32.3."),
        (5, None, "softmaxLse is null"),
        (5, torch.ones(3), "softmaxLse is float32.3., wanted 80"),
    ):
        args = [bad if i == at else t for i, t in enumerate(inputs)]
        with pytest.raises(OperatorError, match=f"aclnnBlockSparseAttentionGrad: .*{message}"):
            call("aclnnBlockSparseAttentionGrad", *args, *options, *outputs)
    for i, name in enumerate(("dq", "dk", "dv")):
        args = [torch.ones(3) if i == k else t for k, t in enumerate(outputs)]
        with pytest.raises(OperatorError, match=f"aclnnBlockSparseAttentionGrad: {name} is float32.3."):
            call("aclnnBlockSparseAttentionGrad", *inputs, *options, *args)


def test_half_precision_of_the_softmax_is_not_for_bfloat16() -> None:
    c = make_case("BNSD", [20], [30], dtype=torch.bfloat16, ragged=False)
    with pytest.raises(OperatorError, match="innerPrecise is 1, wanted 0 as query is bfloat16"):
        call("aclnnBlockSparseAttention", c.q, c.k, c.v, c.mask, None, None, None, None, None, "BNSD", "BNSD", 2, 0,
             SCALE, 1, 0, FULL, FULL, 0, torch.empty_like(c.q), None)  # fmt: skip
