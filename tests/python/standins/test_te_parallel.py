# SPDX-License-Identifier: Apache-2.0
"""Layers and attention over ranks, against one rank with the whole: the ranks are threads, their tensors the CPU's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from thread_ranks import on_ranks

SIZE, S, B, HIDDEN, OUT = 2, 8, 2, 6, 4


@pytest.fixture
def te(standins):
    import transformer_engine.pytorch

    return transformer_engine.pytorch


def whole_tensors():
    generator = torch.Generator().manual_seed(8)
    x = torch.randn(S, B, HIDDEN, generator=generator)
    weight = torch.randn(OUT, HIDDEN, generator=generator)
    bias = torch.randn(OUT, generator=generator)
    grad = torch.randn(S, B, OUT, generator=generator)
    return x, weight, bias, grad


def expected(x, weight, bias, grad):
    x, weight, bias = (t.clone().requires_grad_() for t in (x, weight, bias))
    out = F.linear(x, weight, bias)
    out.backward(grad)
    return out.detach(), x.grad, weight.grad, bias.grad


def build(te, group, mode, sequence_parallel, kind="Linear"):
    return getattr(te, kind)(
        HIDDEN, OUT, parallel_mode=mode, tp_group=group, tp_size=SIZE, sequence_parallel=sequence_parallel,
        params_dtype=torch.float32, device="cpu",
    )  # fmt: skip


@pytest.mark.parametrize("sequence_parallel", [False, True])
@pytest.mark.parametrize("kind", ["Linear", "LayerNormLinear"])
def test_column_parallel(te, sequence_parallel, kind):
    x, weight, bias, grad = whole_tensors()
    normal = F.layer_norm(x, (HIDDEN,)) if kind == "LayerNormLinear" else x
    want = expected(normal, weight, bias, grad)

    def work(rank, group):
        layer = build(te, group, "column", sequence_parallel, kind)
        with torch.no_grad():
            layer.weight.copy_(weight.chunk(SIZE)[rank])
            layer.bias.copy_(bias.chunk(SIZE)[rank])
        part = x.chunk(SIZE)[rank] if sequence_parallel else x
        part = part.clone().requires_grad_()
        out = layer(part)
        out.backward(grad.chunk(SIZE, -1)[rank])
        marks = layer.weight.tensor_model_parallel, layer.weight.partition_dim
        return out.detach(), part.grad, layer.weight.grad, layer.bias.grad, marks

    parts = on_ranks(work)
    torch.testing.assert_close(torch.cat([p[0] for p in parts], -1), want[0])
    torch.testing.assert_close(torch.cat([p[2] for p in parts]), want[2])
    torch.testing.assert_close(torch.cat([p[3] for p in parts]), want[3])
    assert [p[4] for p in parts] == [(True, 0)] * SIZE
    if kind == "Linear":
        got = torch.cat([p[1] for p in parts]) if sequence_parallel else parts[0][1]
        torch.testing.assert_close(got, want[1])


@pytest.mark.parametrize("sequence_parallel", [False, True])
def test_row_parallel(te, sequence_parallel):
    x, weight, bias, grad = whole_tensors()
    want = expected(x, weight, bias, grad)

    def work(rank, group):
        layer = build(te, group, "row", sequence_parallel)
        with torch.no_grad():
            layer.weight.copy_(weight.chunk(SIZE, 1)[rank])
            layer.bias.copy_(bias)
        part = x.chunk(SIZE, -1)[rank].clone().requires_grad_()
        out = layer(part)
        out.backward(grad.chunk(SIZE)[rank] if sequence_parallel else grad)
        return out.detach(), part.grad, layer.weight.grad, layer.bias.grad, layer.bias.sequence_parallel

    parts = on_ranks(work)
    out = torch.cat([p[0] for p in parts]) if sequence_parallel else parts[0][0]
    torch.testing.assert_close(out, want[0])
    torch.testing.assert_close(torch.cat([p[1] for p in parts], -1), want[1])
    torch.testing.assert_close(torch.cat([p[2] for p in parts], -1), want[2])
    # Megatron sums the gradients of what is marked over the ranks.
    bias_grad = sum(p[3] for p in parts) if sequence_parallel else parts[0][3]
    torch.testing.assert_close(bias_grad, want[3])
    assert parts[0][4] is sequence_parallel


def deal(whole, rank, dim):
    """The two chunks of a context-parallel rank."""
    pieces = whole.chunk(2 * SIZE, dim)
    return torch.cat((pieces[rank], pieces[2 * SIZE - 1 - rank]), dim)


@pytest.mark.parametrize("kind", ["causal", "no_mask", "window"])
@pytest.mark.parametrize("form", ["sbhd", "bshd"])
def test_context_parallel_attention(te, kind, form):
    generator = torch.Generator().manual_seed(9)
    dim = 0 if form == "sbhd" else 1
    shape = (16, 2, 4, 3) if form == "sbhd" else (2, 16, 4, 3)
    q, k, v, grad = (torch.randn(shape, generator=generator) for _ in range(4))
    options = (
        {"attn_mask_type": "causal", "window_size": (5, 0)} if kind == "window" else {"attn_mask_type": kind}
    )

    def run(q, k, v, grad, **more):
        layer = te.DotProductAttention(4, 3, qkv_format=form, **options, **more)
        q, k, v = (x.clone().requires_grad_() for x in (q, k, v))
        out = layer(q, k, v)
        out.backward(grad.flatten(2))
        return out.detach(), q.grad, k.grad, v.grad

    def work(rank, group):
        return run(*(deal(x, rank, dim) for x in (q, k, v, grad)), cp_group=group, cp_comm_type="a2a")

    want = run(q, k, v, grad)
    for rank, got in enumerate(on_ranks(work)):
        for part, whole in zip(got, want, strict=True):
            torch.testing.assert_close(part, deal(whole, rank, dim))


def test_context_parallel_packed_sequences(te):
    generator = torch.Generator().manual_seed(10)
    ends = torch.tensor([0, 8, 12], dtype=torch.int32)
    q, k, v, grad = (torch.randn(12, 4, 3, generator=generator) for _ in range(4))

    def pick(x, rank):
        return torch.cat([deal(x[:8], rank, 0), deal(x[8:], rank, 0)])

    def run(q, k, v, grad, **more):
        layer = te.DotProductAttention(4, 3, qkv_format="thd", attn_mask_type="padding_causal", **more)
        q, k, v = (x.clone().requires_grad_() for x in (q, k, v))
        out = layer(q, k, v, cu_seqlens_q=ends, cu_seqlens_kv=ends)
        out.backward(grad.flatten(1))
        return out.detach(), q.grad, k.grad, v.grad

    want = run(q, k, v, grad)
    got = on_ranks(lambda rank, group: run(*(pick(x, rank) for x in (q, k, v, grad)), cp_group=group))
    for rank, parts in enumerate(got):
        for part, whole in zip(parts, want, strict=True):
            torch.testing.assert_close(part, pick(whole, rank))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_over_a_cut_vocabulary(te, smoothing):
    generator = torch.Generator().manual_seed(11)
    logits = torch.randn(5, 2, 8, generator=generator) * 3
    target = torch.randint(0, 8, (5, 2), generator=generator)
    target[3, 1] = -100
    whole = logits.clone().requires_grad_()
    want = F.cross_entropy(whole.flatten(0, 1), target.flatten(), label_smoothing=smoothing, reduction="none")
    (want * torch.arange(10.0)).sum().backward()

    def work(rank, group):
        part = logits.chunk(SIZE, -1)[rank].clone().requires_grad_()
        loss = te.parallel_cross_entropy(part, target, smoothing, False, group)
        (loss.flatten() * torch.arange(10.0)).sum().backward()
        return loss.detach(), part.grad

    parts = on_ranks(work)
    for loss, _ in parts:
        torch.testing.assert_close(loss, want.detach().view(5, 2))
    torch.testing.assert_close(torch.cat([p[1] for p in parts], -1), whole.grad)
