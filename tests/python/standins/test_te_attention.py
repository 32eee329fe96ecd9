# SPDX-License-Identifier: Apache-2.0
"""Attention and rotary positions of the stand-ins against formulas written out on the CPU in float64."""

from __future__ import annotations

import pytest
import torch

DEVICE = "npu"
B, S, H, G, D = 2, 12, 4, 2, 8


@pytest.fixture
def te(standins):
    import transformer_engine.pytorch

    torch.manual_seed(5)
    return transformer_engine.pytorch


def reference(q, k, v, scale, mask=None, bias=None):
    """[b,s,h,d] -> [b,s,h,d]; mask broadcasts to [b,h,s,t], True hides."""
    q, k, v = (x.detach().cpu().double().transpose(1, 2) for x in (q, k, v))
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    scores = q @ k.transpose(-1, -2) * scale
    if bias is not None:
        scores = scores + bias.cpu().double()
    if mask is not None:
        scores = scores.masked_fill(mask.cpu(), float("-inf"))
    return (scores.softmax(-1) @ v).transpose(1, 2)


def inputs(length=S, keys=S, dtype=torch.float32, value=D):
    return (
        torch.randn(B, length, H, D, device=DEVICE, dtype=dtype),
        torch.randn(B, keys, G, D, device=DEVICE, dtype=dtype),
        torch.randn(B, keys, G, value, device=DEVICE, dtype=dtype),
    )


def attention(te, **options):
    return te.DotProductAttention(H, D, num_gqa_groups=G, **options)


def close(got, want, tolerance=2e-5):
    torch.testing.assert_close(got.detach().cpu().double(), want, rtol=tolerance, atol=tolerance)


CAUSAL = torch.ones(S, S, dtype=torch.bool).triu(1)
PADDING = torch.zeros(B, 1, 1, S, dtype=torch.bool)
PADDING[0, ..., 9:] = True
ARBITRARY = torch.rand(B, 1, S, S, generator=torch.Generator().manual_seed(1)) > 0.6
ARBITRARY[..., 0] = False
MASKS = {
    "no_mask": (None, None),
    "causal": (None, CAUSAL),
    "padding": (PADDING, PADDING),
    "padding_causal": (PADDING, PADDING | CAUSAL),
    "arbitrary": (ARBITRARY, ARBITRARY),
}


@pytest.mark.parametrize("form", ["sbhd", "bshd"])
@pytest.mark.parametrize("kind", sorted(MASKS))
def test_masks_and_layouts(te, form, kind):
    q, k, v = inputs()
    given, hidden = MASKS[kind]
    want = reference(q, k, v, D**-0.5, hidden).flatten(2)
    if form == "sbhd":
        q, k, v = (x.transpose(0, 1) for x in (q, k, v))
        want = want.transpose(0, 1)
    mask = None if given is None else given.to(DEVICE)
    close(attention(te, qkv_format=form)(q, k, v, mask, attn_mask_type=kind), want)


@pytest.mark.parametrize("heads", [3, H])
@pytest.mark.parametrize("kind", ["padding", "arbitrary"])
@pytest.mark.parametrize("shape", [(S, S), (1, S, S), (1, 1, S, S), (B, 1, S, S)])
def test_a_mask_of_queries_and_keys_broadcasts(te, shape, kind, heads):
    """Megatron's T5 hands over one of [1, queries, keys] in place of a padding mask."""
    q, k, v = (torch.randn(B, S, heads, D, device=DEVICE) for _ in range(3))
    mask = torch.rand(shape) > 0.6
    mask[..., 0] = False
    layer = te.DotProductAttention(heads, D, qkv_format="bshd", attn_mask_type=kind)
    close(layer(q, k, v, mask.to(DEVICE)), reference(q, k, v, D**-0.5, mask).flatten(2))


@pytest.mark.parametrize("shape", [(B, S, S), (1, 1, S, S + 1), (1, 1, 1, S, S)])
def test_a_mask_that_does_not_broadcast_is_refused(te, shape):
    q, k, v = (torch.randn(B, S, 3, D, device=DEVICE) for _ in range(3))
    layer = te.DotProductAttention(3, D, qkv_format="bshd", attn_mask_type="padding")
    with pytest.raises(ValueError, match=r"attention_mask is \[.*wanted .* = \[2, 3, 12, 12\]"):
        layer(q, k, v, torch.zeros(shape, dtype=torch.bool, device=DEVICE))


def test_bfloat16_scale_and_narrow_values(te):
    q, k, v = inputs(dtype=torch.bfloat16, value=4)
    layer = te.DotProductAttention(H, (D, 4), num_gqa_groups=G, softmax_scale=0.7, qkv_format="bshd")
    close(layer(q, k, v), reference(q, k, v, 0.7, CAUSAL).flatten(2), 2e-2)


@pytest.mark.parametrize("window", [(3, 0), (2, 4), (-1, 2), (-1, -1)])
def test_windows(te, window):
    q, k, v = inputs()
    distance = torch.arange(S) - torch.arange(S)[:, None]
    hidden = torch.zeros(S, S, dtype=torch.bool)
    hidden |= (distance < -window[0]) if window[0] >= 0 else False
    hidden |= (distance > window[1]) if window[1] >= 0 else False
    kind = "causal" if window == (3, 0) else "no_mask"
    layer = attention(te, qkv_format="bshd", attn_mask_type=kind, window_size=window)
    close(layer(q, k, v), reference(q, k, v, D**-0.5, hidden).flatten(2))


@pytest.mark.parametrize(
    ("kind", "given", "read"),
    [("causal", None, (-1, 0)), ("no_mask", None, (-1, -1)), ("causal", (3, 0), (3, 0))],
)
def test_a_window_can_be_read(te, kind, given, read):
    assert attention(te, attn_mask_type=kind, window_size=given).window_size == read


def test_a_window_is_a_pair(te):
    with pytest.raises(TypeError, match=r"window_size=11: wanted \(keys before, keys behind\)"):
        attention(te, window_size=11)


def test_gradients_and_the_gradient_of_a_bias(te):
    q, k, v = (x.requires_grad_() for x in inputs())
    bias = torch.randn(1, H, S, S, device=DEVICE, requires_grad=True)
    layer = attention(te, qkv_format="bshd", attn_mask_type="no_mask")
    out = layer(q, k, v, core_attention_bias_type="post_scale_bias", core_attention_bias=bias)
    weights = torch.randn(out.shape)
    grads = torch.autograd.grad((out * weights.to(DEVICE)).sum(), (q, k, v, bias))
    plain = [x.detach().cpu().double().requires_grad_() for x in (q, k, v, bias)]
    heads = [x.transpose(1, 2) for x in plain[:3]]
    keys, values = (x.repeat_interleave(H // G, 1) for x in heads[1:])
    scores = heads[0] @ keys.transpose(-1, -2) * D**-0.5 + plain[3]
    want = (scores.softmax(-1) @ values).transpose(1, 2).flatten(2)
    close(out, want.detach())
    for got, wanted in zip(grads, torch.autograd.grad((want * weights).sum(), plain), strict=True):
        close(got, wanted, 1e-4)


def test_dropout_draws_from_the_tracker_and_only_in_training(te):
    q, k, v = inputs()
    forks = []

    class Tracker:
        def fork(self):
            forks.append(1)
            return torch.random.fork_rng(devices=[])

    layer = attention(te, qkv_format="bshd", attention_dropout=0.5, get_rng_state_tracker=lambda: Tracker())
    dropped = layer(q, k, v)
    assert forks == [1]
    close(layer.eval()(q, k, v), reference(q, k, v, D**-0.5, CAUSAL).flatten(2))
    assert forks == [1] and not torch.allclose(dropped, layer(q, k, v))


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("kind", ["padding", "padding_causal"])
def test_packed_sequences(te, padded, kind):
    lengths, rooms = [5, 7, 3], [6, 8, 6] if padded else [5, 7, 3]
    ends = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
    places = torch.tensor([0, *rooms]).cumsum(0).to(torch.int32)
    total = sum(rooms)
    q = torch.randn(total, H, D, device=DEVICE)
    k, v = (torch.randn(total, G, D, device=DEVICE) for _ in range(2))
    want = torch.zeros(total, H * D, dtype=torch.float64)
    for length, begin in zip(lengths, places.tolist(), strict=False):
        rows = slice(begin, begin + length)
        hidden = torch.ones(length, length, dtype=torch.bool).triu(1) if "causal" in kind else None
        want[rows] = reference(q[None, rows], k[None, rows], v[None, rows], D**-0.5, hidden)[0].flatten(1)
    room = (
        {"cu_seqlens_q_padded": places.to(DEVICE), "cu_seqlens_kv_padded": places.to(DEVICE)}
        if padded
        else {}
    )
    out = attention(te, qkv_format="thd")(
        q, k, v, attn_mask_type=kind, cu_seqlens_q=ends.to(DEVICE), cu_seqlens_kv=ends.to(DEVICE), **room
    )
    close(out, want)


def test_attention_adds_nothing_to_a_checkpoint(te):
    assert attention(te).state_dict() == {}


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("form", ["sbhd", "bshd", "thd"])
@pytest.mark.parametrize("turned", [D, D // 2])
def test_rotary_positions(te, interleaved, form, turned):
    freqs = torch.rand(16, 1, 1, turned) * 6
    if interleaved:
        freqs = freqs[..., ::2].repeat_interleave(2, -1)
    else:
        freqs = freqs[..., : turned // 2].repeat(1, 1, 1, 2)
    options = {}
    if form == "thd":
        t = torch.randn(9, H, D)
        ends = torch.tensor([0, 4, 9], dtype=torch.int32)
        options["cu_seqlens"] = ends.to(DEVICE)
        angle = freqs[torch.tensor([0, 1, 2, 3, 0, 1, 2, 3, 4]), 0]
    else:
        t = torch.randn(*((S, B) if form == "sbhd" else (B, S)), H, D)
        angle = freqs[:S] if form == "sbhd" else freqs[:S].transpose(0, 1)
    x = t[..., :turned]
    if interleaved:
        other = torch.stack((-x[..., 1::2], x[..., ::2]), -1).flatten(-2)
    else:
        other = torch.cat((-x[..., turned // 2 :], x[..., : turned // 2]), -1)
    want = torch.cat((x * angle.cos() + other * angle.sin(), t[..., turned:]), -1)
    got = te.attention.apply_rotary_pos_emb(
        t.to(DEVICE), freqs.to(DEVICE), tensor_format=form, interleaved=interleaved, fused=True, **options
    )
    close(got, want.double(), 1e-5)


def test_rotary_positions_of_an_odd_size(te):
    t, freqs = torch.randn(4, B, H, 3), torch.rand(4, 1, 1, 3)
    other = torch.stack((-t[..., 1], -t[..., 2], t[..., 0]), -1)
    got = te.attention.apply_rotary_pos_emb(t.to(DEVICE), freqs.to(DEVICE), fused=True)
    close(got, (t * freqs.cos() + other * freqs.sin()).double(), 1e-5)


def test_rotary_positions_of_a_context_parallel_rank(te):
    got = te.attention.rope.packed_positions(torch.tensor([0, 8, 12]), 6, 2, 1, torch.device("cpu"))
    assert got.tolist() == [2, 3, 4, 5, 1, 2]


def test_flash_attn(standins):
    from flash_attn import flash_attn_func, flash_attn_varlen_func, flash_attn_with_kvcache

    torch.manual_seed(6)
    q, k, v = inputs(length=5)
    hidden = torch.ones(5, S, dtype=torch.bool).triu(1 + S - 5)
    close(flash_attn_func(q, k, v, causal=True), reference(q, k, v, D**-0.5, hidden))
    window = hidden | (torch.arange(S) < torch.arange(5)[:, None] + S - 5 - 2)
    close(flash_attn_func(q, k, v, causal=True, window_size=(2, 0)), reference(q, k, v, D**-0.5, window))
    ends_q, ends_k = torch.tensor([0, 5, 10]), torch.tensor([0, S, 2 * S])
    packed = flash_attn_varlen_func(
        q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), ends_q, ends_k, 5, S, causal=True
    )
    close(packed, reference(q, k, v, D**-0.5, hidden).flatten(0, 1))
    cache = [torch.zeros(B, 20, G, D, device=DEVICE) for _ in range(2)]
    cache[0][:, : S - 5], cache[1][:, : S - 5] = k[:, : S - 5], v[:, : S - 5]
    out = flash_attn_with_kvcache(q, *cache, k[:, S - 5 :], v[:, S - 5 :], cache_seqlens=S - 5, causal=True)
    close(out, reference(q, k, v, D**-0.5, hidden))
    with pytest.raises(NotImplementedError, match=r"softcap=1\.5"):
        flash_attn_func(q, k, v, softcap=1.5)


def test_flash_attn_of_pages(standins):
    from flash_attn import flash_attn_varlen_func, flash_attn_with_kvcache

    torch.manual_seed(7)
    q, k, v = inputs(length=5)
    rows = 4
    table = torch.randperm(B * -(-S // rows)).view(B, -1)
    caches = [torch.full((table.numel(), rows, G, D), float("nan"), device=DEVICE) for _ in range(2)]
    for cache, whole in zip(caches, (k, v), strict=True):
        for i in range(B):
            for at in range(S):
                cache[table[i, at // rows], at % rows] = whole[i, at]
    options = {"causal": True, "block_table": table.int().to(DEVICE)}
    hidden = torch.ones(5, S, dtype=torch.bool).triu(1 + S - 5)
    want = reference(q, k, v, D**-0.5, hidden)
    ends_q, ends_k = torch.arange(B + 1) * 5, torch.arange(B + 1) * S
    padded = torch.cat((q.flatten(0, 1), q[0, :3]))
    out = flash_attn_varlen_func(padded, *caches, ends_q, ends_k, 5, S, **options)
    close(out[: B * 5], want.flatten(0, 1))
    assert not out[B * 5 :].any()
    close(flash_attn_with_kvcache(q, *caches, cache_seqlens=torch.full((B,), S), **options), want)
    close(flash_attn_with_kvcache(q, *caches, cache_seqlens=S, **options), want)
    with pytest.raises(ValueError, match="block_table asks for cache_seqlens"):
        flash_attn_with_kvcache(q, *caches, **options)
    with pytest.raises(NotImplementedError, match="window_size"):
        flash_attn_varlen_func(padded, *caches, ends_q, ends_k, 5, S, window_size=(2, 0), **options)
    with pytest.raises(NotImplementedError, match=r"alibi_slopes: a tensor of \(4,\)"):
        flash_attn_varlen_func(padded, *caches, ends_q, ends_k, 5, S, alibi_slopes=torch.ones(4), **options)
