"""aclnnFlashAttentionScore*, VarLenScore* and their gradients against attention written out in float64."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
import torch
from aclnn import IntArray, OperatorError, call, instruction_set, signatures

FULL = 2147483647
# Error allowed relative to the largest element: rounding of inputs and output of the dtype, float32 accumulation.
TOLERANCE = {torch.float32: 4e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


@dataclass
class Case:
    """One batch in [B, N, S, D], as leaves of a graph, and the options."""

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    layout: str = "BNSD"
    scale: float = 0.3
    keep: float = 1.0
    pse: torch.Tensor | None = None
    pse_type: int = 1
    drop: torch.Tensor | None = None  # [B, N, Sq, Skv] of 0 and 1
    mask: torch.Tensor | None = None  # what the operator gets
    hidden: torch.Tensor | None = None  # what the reference hides, broadcast to [B, N, Sq, Skv]
    sparse: int = 0
    pre: int = FULL
    next: int = FULL
    prefix: list[int] = field(default_factory=list)
    sink: torch.Tensor | None = None


def make_case(b=2, n=4, nkv=4, sq=37, skv=51, d=16, dv=None, dtype=torch.float32, seed=0, **options) -> Case:
    g = torch.Generator().manual_seed(seed)
    shapes = ((b, n, sq, d), (b, nkv, skv, d), (b, nkv, skv, dv or d))
    q, k, v = (torch.randn(s, generator=g).to(dtype) for s in shapes)
    return Case(q, k, v, **options)


def reference(c: Case, dy: torch.Tensor) -> dict[str, torch.Tensor]:
    q, k, v = (t.double().requires_grad_() for t in (c.q, c.k, c.v))
    leaves = {"dq": q, "dk": k, "dv": v}
    group = q.shape[1] // k.shape[1]
    scores = q @ k.repeat_interleave(group, 1).transpose(2, 3)
    if c.pse is not None:
        pse = c.pse.double().requires_grad_()
        leaves["dpse"] = pse
        scores = (scores + pse) * c.scale if c.pse_type == 1 else scores * c.scale + pse
    else:
        scores = scores * c.scale
    if c.hidden is not None:
        scores = scores.masked_fill(c.hidden, -math.inf)
    most = scores.amax(-1, keepdim=True)
    if c.sink is not None:
        sink = c.sink.double().requires_grad_()
        leaves["dsink"] = sink
        most = torch.maximum(most, sink.view(1, -1, 1, 1))
    weights = torch.exp(scores - most.detach().clamp(min=-1e30))
    total = weights.sum(-1, keepdim=True)
    if c.sink is not None:
        total = total + torch.exp(sink.view(1, -1, 1, 1) - most.detach())
    p = weights / torch.where(total == 0, torch.ones_like(total), total)
    if c.drop is not None:
        p = p * c.drop / c.keep
    out = p @ v.repeat_interleave(group, 1)
    out.backward(dy.double())
    result = {name: t.grad for name, t in leaves.items()}
    return result | {"out": out.detach(), "max": most.detach(), "sum": total.detach()}


def to_layout(t: torch.Tensor, layout: str) -> torch.Tensor:
    if layout == "BNSD":
        return t.contiguous()
    if layout == "BSND":
        return t.transpose(1, 2).contiguous()
    if layout == "BSH":
        return t.transpose(1, 2).flatten(2).contiguous()
    return t.permute(2, 0, 1, 3).flatten(2).contiguous()


def from_layout(t: torch.Tensor, layout: str, heads: int) -> torch.Tensor:
    if layout == "BNSD":
        return t
    if layout == "BSND":
        return t.transpose(1, 2)
    if layout == "BSH":
        return t.unflatten(2, (heads, -1)).transpose(1, 2)
    return t.unflatten(2, (heads, -1)).permute(1, 2, 0, 3)


def pack_bits(drop: torch.Tensor) -> torch.Tensor:
    bits = drop.flatten().to(torch.uint8)
    padded = torch.zeros(-(-bits.numel() // 128) * 128, dtype=torch.uint8)
    padded[: bits.numel()] = bits
    return (padded.view(-1, 8) << torch.arange(8, dtype=torch.uint8)).sum(1).to(torch.uint8)


def arguments(name: str, values: dict) -> list:
    """The operator's arguments by name; what is not given is null, 0 or empty."""
    result = []
    for kind, parameter in signatures()[name]:
        default = None if "*" in kind else 0
        result.append(values.get(parameter, default))
    return result


def run(c: Case, dy: torch.Tensor, version: str = "") -> dict[str, torch.Tensor]:
    b, n, sq, _ = c.q.shape
    shaped = [to_layout(t, c.layout) for t in (c.q, c.k, c.v)]
    out = torch.full_like(to_layout(dy, c.layout), math.nan)
    stats = [torch.full((b, n, sq, 8), math.nan) for _ in range(2)]
    options = {
        "realShiftOptional": c.pse, "pseShiftOptional": c.pse, "attenMaskOptional": c.mask, "sinkOptional": c.sink,
        "sinkInOptional": c.sink, "dropMaskOptional": None if c.drop is None else pack_bits(c.drop),
        "prefixOptional": IntArray(c.prefix) if c.prefix else None, "scaleValue": c.scale, "keepProb": c.keep,
        "preTokens": c.pre, "nextTokens": c.next, "headNum": n, "inputLayout": c.layout, "sparseMode": c.sparse,
        "pseType": c.pse_type, "softmaxOutLayout": "", "softmaxInLayout": "",
        "softmaxMaxOut": stats[0], "softmaxSumOut": stats[1], "softmaxMaxOptional": stats[0],
        "softmaxSumOptional": stats[1], "attentionOutOut": out, "attentionInOptional": out,
        "query": shaped[0], "key": shaped[1], "keyIn": shaped[1], "value": shaped[2], "dy": to_layout(dy, c.layout),
    }  # fmt: skip
    forward, backward = f"aclnnFlashAttentionScore{version}", f"aclnnFlashAttentionScoreGrad{version}"
    call(forward, *arguments(forward, options))
    grads = {name: torch.full_like(t, math.nan) for name, t in zip(("dq", "dk", "dv"), shaped, strict=True)}
    if c.pse is not None:
        grads["dpse"] = torch.full_like(c.pse, math.nan)
    if c.sink is not None:
        grads["dsink"] = torch.full_like(c.sink, math.nan)
    options |= {f"{name}Out": t for name, t in grads.items()}
    call(backward, *arguments(backward, options))
    result = {"out": from_layout(out, c.layout, n), "max": stats[0][..., :1], "sum": stats[1][..., :1]}
    for name, t in grads.items():
        heads = c.k.shape[1] if name in ("dk", "dv") else n
        result[name] = from_layout(t, c.layout, heads) if name in ("dq", "dk", "dv") else t
    assert all((s == s[..., :1]).all() for s in stats)
    return result


def check(c: Case, version: str = "") -> None:
    dy = torch.randn(*c.q.shape[:3], c.v.shape[3], generator=torch.Generator().manual_seed(9)).to(c.q.dtype)
    got, want = run(c, dy, version), reference(c, dy)
    seen = (want["sum"] > 0).expand_as(got["max"])
    for name in ("max", "sum"):
        torch.testing.assert_close(got[name][seen].double(), want[name][seen], rtol=1e-5, atol=1e-5)
    for name, w in want.items():
        if name in ("max", "sum"):
            continue
        error = (got[name].double() - w).abs().max().item()
        allowed = TOLERANCE[c.q.dtype] * max(1.0, w.abs().max().item()) * (4 if name.startswith("d") else 1)
        assert error <= allowed, f"{name}: error {error}, allowed {allowed}"


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("layout", ["BNSD", "BSND", "BSH", "SBH"])
def test_every_layout_and_dtype(layout: str, dtype: torch.dtype) -> None:
    check(make_case(layout=layout, dtype=dtype))


def test_version_with_the_most_arguments() -> None:
    check(make_case(), version="V4")


@pytest.mark.parametrize(
    ("sq", "skv", "d"), [(1, 1, 1), (1, 300, 64), (129, 257, 24), (300, 1, 8), (260, 260, 40)]
)
def test_sizes_around_the_tiles(sq: int, skv: int, d: int) -> None:
    check(make_case(b=1, n=2, nkv=2, sq=sq, skv=skv, d=d))


@pytest.mark.parametrize(
    ("sq", "skv", "d", "dv"),
    [(1, 300, 64, 64), (129, 257, 24, 40), (300, 1, 8, 8), (260, 260, 130, 17), (47, 97, 33, 1)],
)
@pytest.mark.parametrize("causal_mask", [False, True])
def test_bfloat16_is_rounded_once(sq: int, skv: int, d: int, dv: int, causal_mask: bool) -> None:
    """Half a unit of bfloat16, and of the largest element 2^-13 for the weights, or 2^-9 where they are rounded to
    bfloat16 for products of pairs and tiles (attention_pairs.c, attention_few_pairs.c, attention_tiles.c).

    Gradients of queries and keys contain the rounded output, and are left out.
    """
    weights = 2**-9 if instruction_set() in ("avx512bf16", "amx") else 2**-13
    options = {}
    if causal_mask:
        options = {
            "mask": torch.triu(torch.ones(2048, 2048), 1).bool(),
            "sparse": 2,
            "hidden": causal(sq, skv, FULL, 0, False),
        }
    case = make_case(
        b=1, n=4, nkv=2, sq=sq, skv=skv, d=d, dv=dv, scale=d**-0.5, dtype=torch.bfloat16, **options
    )
    dy = torch.randn(1, 4, sq, dv, generator=torch.Generator().manual_seed(9)).bfloat16()
    got, want = run(case, dy), reference(case, dy)
    for name in ("out", "dv"):
        error = (got[name].double() - want[name]).abs()
        assert (error <= 2**-8 * want[name].abs() + weights * want[name].abs().max()).all(), name


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_bfloat16_that_is_not_finite_stays_where_it_is(bad: float) -> None:
    case = make_case(b=1, n=1, nkv=1, sq=40, skv=70, d=32, dtype=torch.bfloat16)
    case.v[0, 0, 50, 7] = bad
    out = run(case, torch.ones(1, 1, 40, 32).bfloat16())["out"]
    assert not out[..., 7].isfinite().any()
    assert out[..., :7].isfinite().all() and out[..., 8:].isfinite().all()


def test_grouped_query_heads_and_narrow_values() -> None:
    check(make_case(n=6, nkv=2, sq=140, skv=150, d=32, dv=16))


def test_more_than_one_batch_fills_the_items() -> None:
    check(make_case(b=5, n=4, nkv=4, sq=130, skv=140, d=8))


def causal(sq: int, skv: int, pre: int, next_: int, corner: bool) -> torch.Tensor:
    i, j = torch.arange(sq).view(-1, 1) + (skv - sq if corner else 0), torch.arange(skv).view(1, -1)
    return (j > i + next_) | (j < i - pre)


@pytest.mark.parametrize(("sq", "skv"), [(150, 150), (140, 270), (270, 140)])
@pytest.mark.parametrize("sparse", [2, 3, 4])
def test_sparse_modes_need_no_mask_contents(sparse: int, sq: int, skv: int) -> None:
    compressed = torch.triu(torch.ones(2048, 2048), 1).bool()
    pre, next_ = (60, 20) if sparse == 4 else (FULL, 0)
    hidden = causal(sq, skv, pre, next_, sparse != 2)
    check(make_case(sq=sq, skv=skv, b=1, mask=compressed, hidden=hidden, sparse=sparse, pre=pre, next=next_))


@pytest.mark.parametrize("option", ["band", "corner", "mask", "bias", "dropout", "negative scale"])
@pytest.mark.parametrize("d", [40, 64])
def test_options_of_bfloat16(option: str, d: int) -> None:
    """Several tiles each way, some of them seen in part."""
    b, n, sq, skv, generator = 2, 4, 150, 290, torch.Generator().manual_seed(3)
    compressed, options = torch.triu(torch.ones(2048, 2048), 1).bool(), {}
    if option == "band":
        options = {
            "mask": compressed,
            "sparse": 4,
            "pre": 60,
            "next": 20,
            "hidden": causal(sq, skv, 60, 20, True),
        }
    elif option == "corner":
        options = {"mask": compressed, "sparse": 3, "hidden": causal(sq, skv, FULL, 0, True)}
    elif option == "mask":
        mask = torch.rand(b, n, sq, skv, generator=generator) < 0.4
        mask[..., 7, :] = True
        options = {"mask": mask, "hidden": mask}
    elif option == "bias":
        options = {"pse": torch.randn(b, n, sq, skv, generator=generator).bfloat16()}
    elif option == "dropout":
        options = {"drop": (torch.rand(b, n, sq, skv, generator=generator) < 0.8).double(), "keep": 0.8}
    else:
        options = {"scale": -0.2}
    check(make_case(b, n, 2, sq, skv, d, dtype=torch.bfloat16, **options))


@pytest.mark.parametrize("causal_mask", [False, True])
def test_bfloat16_with_elements_apart(causal_mask: bool) -> None:
    """Heads whose elements do not follow each other have the bits of those whose do."""
    generator = torch.Generator().manual_seed(4)
    q, k, v, dy = (torch.randn(1, 2, 150, 48, generator=generator).bfloat16() for _ in range(4))
    options = {
        "attenMaskOptional": torch.triu(torch.ones(2048, 2048), 1).bool() if causal_mask else None,
        "scaleValue": 0.2, "keepProb": 1.0, "preTokens": FULL, "nextTokens": 0, "headNum": 2,
        "inputLayout": "BNSD", "sparseMode": 2 if causal_mask else 0,
    }  # fmt: skip
    results = []
    for apart in (False, True):
        tensors = [t.transpose(2, 3).contiguous().transpose(2, 3) if apart else t for t in (q, k, v, dy)]
        named = dict(zip(("query", "key", "value", "dy"), tensors, strict=True)) | {"keyIn": tensors[1]}
        out, stats = torch.empty(q.shape).bfloat16(), [torch.empty(1, 2, 150, 8) for _ in range(2)]
        grads = [torch.empty(q.shape).bfloat16() for _ in range(3)]
        statistics = {"softmaxMaxOut": stats[0], "softmaxSumOut": stats[1], "attentionOutOut": out}
        saved = {
            "softmaxMaxOptional": stats[0],
            "softmaxSumOptional": stats[1],
            "attentionInOptional": out,
            **dict(zip(("dqOut", "dkOut", "dvOut"), grads, strict=True)),
        }
        forward, backward = "aclnnFlashAttentionScore", "aclnnFlashAttentionScoreGrad"
        call(forward, *arguments(forward, options | named | statistics))
        call(backward, *arguments(backward, options | named | saved))
        results.append([out, *grads])
    assert all(torch.equal(x, y) for x, y in zip(*results, strict=True))


@pytest.mark.parametrize("shape", ["SS", "11SS", "B1SS", "BNSS"])
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8])
def test_mask_tensors(shape: str, dtype: torch.dtype) -> None:
    b, n, sq, skv = 2, 4, 133, 140
    size = {"SS": (sq, skv), "11SS": (1, 1, sq, skv), "B1SS": (b, 1, sq, skv), "BNSS": (b, n, sq, skv)}[shape]
    mask = torch.rand(size, generator=torch.Generator().manual_seed(1)) < 0.4
    mask[..., 7, :] = True  # a row without keys
    for sparse in (0, 1):
        check(make_case(b, n, n, sq, skv, mask=mask.to(dtype), hidden=mask, sparse=sparse))
    expanded = mask[:1, :1].expand(b, n, sq, skv) if mask.dim() == 4 else mask
    check(make_case(b, n, n, sq, skv, mask=expanded, hidden=expanded))


def test_default_mode_with_mask_and_band() -> None:
    hidden = causal(200, 200, 50, 30, False)
    check(make_case(b=1, sq=200, skv=200, mask=hidden, hidden=hidden, pre=50, next=30))


def test_tokens_without_mask_do_not_count() -> None:
    check(make_case(sparse=0, pre=3, next=0))


def test_prefix() -> None:
    sq, skv, prefix = 40, 60, [25, 50]
    compressed = torch.ones(3072, 2048).bool()
    hidden = torch.stack([causal(sq, skv, FULL, 0, True) & (torch.arange(skv) >= p) for p in prefix])[:, None]
    check(make_case(sq=sq, skv=skv, mask=compressed, hidden=hidden, sparse=6, prefix=prefix))
    check(make_case(sq=sq, skv=skv, mask=hidden, hidden=hidden, sparse=5, prefix=prefix))


@pytest.mark.parametrize("keep", [0.8, 0.25])
def test_dropout(keep: float) -> None:
    drop = (torch.rand(2, 4, 37, 151, generator=torch.Generator().manual_seed(3)) < keep).double()
    check(make_case(skv=151, drop=drop, keep=keep))


@pytest.mark.parametrize("pse_type", [0, 1])
@pytest.mark.parametrize("batches", [1, 2])
def test_position_bias(batches: int, pse_type: int) -> None:
    pse = torch.randn(batches, 4, 37, 151, generator=torch.Generator().manual_seed(4))
    check(make_case(skv=151, pse=pse, pse_type=pse_type), version="V2")
    if pse_type == 1:
        check(make_case(skv=151, pse=pse))


@pytest.mark.parametrize("keep", [0.8, 0.0])
@pytest.mark.parametrize("layout", ["BSH", "TND"])
def test_dropout_by_seed_is_that_of_its_mask(layout: str, keep: float) -> None:
    n, d, lengths, lengths_kv = 3, 16, [37, 140], [51, 150]
    packed_ = layout == "TND"
    bits = n * sum(q * k for q, k in zip(lengths, lengths_kv, strict=True)) if packed_ else 2 * n * 37 * 51
    g = torch.Generator().manual_seed(3)
    shapes = [(sum(lengths), n, d), (sum(lengths_kv), n, d)] if packed_ else [(2, 37, n * d), (2, 51, n * d)]
    q, dy = (torch.randn(shapes[0], generator=g) for _ in range(2))
    k, v = (torch.randn(shapes[1], generator=g) for _ in range(2))
    mask = torch.zeros(-(-bits // 128) * 16, dtype=torch.uint8)
    call("aclnnDropoutGenMaskV2", IntArray([bits]), 1 - keep, 11, 22, torch.float32, mask)
    rows = (sum(lengths), n, 8) if packed_ else (2, n, 37, 8)

    def both(drop: torch.Tensor | None, seed: int) -> list[torch.Tensor]:
        result = [torch.full(rows, math.nan) for _ in range(2)] + [
            torch.full_like(t, math.nan) for t in (q, q, k, v)
        ]
        options = {
            "query": q, "key": k, "keyIn": k, "value": v, "dy": dy, "scaleValue": 0.3, "keepProb": keep, "headNum": n,
            "inputLayout": layout, "preTokens": FULL, "nextTokens": FULL, "softmaxOutLayout": "", "softmaxInLayout": "",
            "actualSeqQLenOptional": IntArray(torch.tensor(lengths).cumsum(0).tolist()) if packed_ else None,
            "actualSeqKvLenOptional": IntArray(torch.tensor(lengths_kv).cumsum(0).tolist()) if packed_ else None,
            "dropMaskOptional": drop, "seed": seed, "offset": 22, "softmaxMaxOut": result[0], "softmaxSumOut": result[1],
            "softmaxMaxOptional": result[0], "softmaxSumOptional": result[1], "attentionOutOut": result[2],
            "attentionInOptional": result[2], "dqOut": result[3], "dkOut": result[4], "dvOut": result[5],
        }  # fmt: skip
        for name in ("aclnnFlashAttentionScoreV4", "aclnnFlashAttentionScoreGradV4"):
            call(name, *arguments(name, options))
        return result

    want, got, other = both(mask, 0), both(None, 11), both(None, 12)
    assert all(torch.equal(a, b) for a, b in zip(want, got, strict=True))
    assert keep == 0 or not torch.equal(want[2], other[2])


def test_sink() -> None:
    check(make_case(sink=torch.tensor([0.5, -1.0, 3.0, 0.0])), version="V3")


def test_a_gradient_of_sinks_that_has_no_room_is_refused() -> None:
    """It is written head by head: a tensor of fewer heads would be left by the last ones."""
    name, n = "aclnnFlashAttentionScoreGradV3", 4
    q, stats = torch.ones(1, n, 3, 8), torch.ones(1, n, 3, 8)
    options = {
        "query": q, "keyIn": q, "value": q, "dy": q, "scaleValue": 1.0, "keepProb": 1.0, "preTokens": FULL,
        "nextTokens": FULL, "headNum": n, "inputLayout": "BNSD", "softmaxMaxOptional": stats, "pseType": 1,
        "softmaxSumOptional": stats, "attentionInOptional": q, "sinkInOptional": torch.zeros(n),
        "dqOut": torch.empty_like(q), "dkOut": torch.empty_like(q), "dvOut": torch.empty_like(q),
        "dsinkOut": torch.empty(n),
    }  # fmt: skip
    call(name, *arguments(name, options))
    for bad in (
        torch.empty(n - 1),
        torch.empty(n + 1),
        torch.empty(n, 1),
        torch.empty(()),
        torch.empty(n).int(),
    ):
        with pytest.raises(OperatorError, match=f"{name}: dsinkOut is .*, wanted float32.4."):
            call(name, *arguments(name, options | {"dsinkOut": bad}))


def packed(lengths_q: list[int], lengths_kv: list[int], version: str) -> None:
    per_token = version in ("V4", "V5")  # the others have no argument for the layout of the statistics
    n, d, scale = 3, 16, 0.25
    g = torch.Generator().manual_seed(5)
    tq, tk = sum(lengths_q), sum(lengths_kv)
    q, k, v = (torch.randn(t, n, d, generator=g) for t in (tq, tk, tk))
    dy = torch.randn(tq, n, d, generator=g)
    out, stats = torch.full_like(q, math.nan), [torch.full((tq, n, 8), math.nan) for _ in range(2)]
    grads = [torch.full_like(t, math.nan) for t in (q, k, v)]
    cumulative = [IntArray(torch.tensor(x).cumsum(0).tolist()) for x in (lengths_q, lengths_kv)]
    options = {
        "query": q, "key": k, "keyIn": k, "value": v, "dy": dy, "actualSeqQLenOptional": cumulative[0],
        "actualSeqKvLenOptional": cumulative[1], "scaleValue": scale, "keepProb": 1.0, "preTokens": FULL,
        "nextTokens": 0, "headNum": n, "inputLayout": "TND", "sparseMode": 3, "softmaxOutLayout": "same_as_input",
        "softmaxInLayout": "same_as_input", "attenMaskOptional": torch.triu(torch.ones(2048, 2048), 1).bool(),
        "softmaxMaxOut": stats[0], "softmaxSumOut": stats[1], "softmaxMaxOptional": stats[0],
        "softmaxSumOptional": stats[1], "attentionOutOut": out, "attentionInOptional": out,
        "dqOut": grads[0], "dkOut": grads[1], "dvOut": grads[2],
    }  # fmt: skip
    for name in (
        f"aclnnFlashAttentionVarLenScore{version}",
        f"aclnnFlashAttentionUnpaddingScoreGrad{version}",
    ):
        call(name, *arguments(name, options))
    q0 = k0 = 0
    for sq, skv in zip(lengths_q, lengths_kv, strict=True):
        rows, keys = slice(q0, q0 + sq), slice(k0, k0 + skv)
        if sq == 0:
            k0 += skv
            continue
        c = Case(*(t.transpose(0, 1)[None] for t in (q[rows], k[keys], v[keys])), scale=scale,
                 hidden=causal(sq, skv, FULL, 0, True))  # fmt: skip
        want = reference(c, dy[rows].transpose(0, 1)[None])
        got = {"out": out[rows], "dq": grads[0][rows], "dk": grads[1][keys], "dv": grads[2][keys]}
        for name, t in got.items():
            torch.testing.assert_close(t.double(), want[name][0].transpose(0, 1), rtol=1e-4, atol=2e-5)
        flat = stats[0].view(-1, 8)[q0 * n : (q0 + sq) * n, 0]
        most = flat.view(sq, n).T if per_token else flat.view(n, sq)
        torch.testing.assert_close(most.double(), want["max"][0, :, :, 0], rtol=1e-5, atol=1e-5)
        q0, k0 = q0 + sq, k0 + skv


@pytest.mark.parametrize("version", ["", "V2", "V3", "V4", "V5"])
def test_packed_sequences(version: str) -> None:
    packed([5, 140, 0, 33], [7, 150, 4, 33], version)


def test_strided_inputs() -> None:
    c = make_case()
    wide = [torch.randn(*t.shape[:-1], 2 * t.shape[-1])[..., ::2] for t in (c.q, c.k, c.v)]
    for to, source in zip(wide, (c.q, c.k, c.v), strict=True):
        to.copy_(source)
    out = [torch.empty_like(c.q) for _ in range(2)]
    for inputs, result in (((c.q, c.k, c.v), out[0]), (wide, out[1])):
        stats = [torch.empty(2, 4, 37, 8) for _ in range(2)]
        name = "aclnnFlashAttentionScore"
        call(name, *arguments(name, {
            "query": inputs[0], "key": inputs[1], "value": inputs[2], "scaleValue": 1.0, "keepProb": 1.0, "headNum": 4,
            "inputLayout": "BNSD", "softmaxMaxOut": stats[0], "softmaxSumOut": stats[1], "attentionOutOut": result,
        }))  # fmt: skip
    assert torch.equal(*out)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputLayout": "BXYZ"}, 'inputLayout is "BXYZ"'),
        ({"headNum": 3}, "headNum is 3"),
        ({"sparseMode": 11}, "sparseMode is 11"),
        ({"keepProb": 1.5}, "keepProb is 1.5"),
        ({"keepProb": 0.9}, "keepProb is 0.9 without dropMaskOptional"),
        ({"attenMaskOptional": torch.zeros(3, 3).bool()}, "attenMask is bool"),
        ({"softmaxMaxOut": torch.zeros(3)}, "softmaxMax is float32"),
        ({"key": torch.zeros(2, 4, 51, 8)}, "do not go together"),
        ({"query": None}, "query is null"),
        ({"dropMaskOptional": torch.zeros(3, dtype=torch.uint8)}, "dropMaskOptional has 24 bits"),
    ],
)
def test_bad_input_is_named(change: dict, message: str) -> None:
    c = make_case()
    stats = [torch.empty(2, 4, 37, 8) for _ in range(2)]
    values = {
        "query": c.q, "key": c.k, "value": c.v, "scaleValue": 1.0, "keepProb": 1.0, "headNum": 4, "inputLayout": "BNSD",
        "softmaxMaxOut": stats[0], "softmaxSumOut": stats[1], "attentionOutOut": torch.empty_like(c.q),
    } | change  # fmt: skip
    name = "aclnnFlashAttentionScore"
    with pytest.raises(OperatorError, match=f"{name}: .*{message}"):
        call(name, *arguments(name, values))


def test_separate_rotary_parts_are_refused() -> None:
    c = make_case()
    for parameter in ("queryRopeOptional", "dScaleQOptional"):
        values = {"query": c.q, "key": c.k, "value": c.v, "headNum": 4, "inputLayout": "BNSD", parameter: c.q}
        with pytest.raises(
            OperatorError, match=rf"ScoreV4: {parameter} is float32\[2,4,37,16\].*must be null"
        ):
            call("aclnnFlashAttentionScoreV4", *arguments("aclnnFlashAttentionScoreV4", values))
