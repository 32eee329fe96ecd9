# SPDX-License-Identifier: Apache-2.0
"""What mixtures of experts take from the stand-ins: permutations, products of groups, routing."""

from __future__ import annotations

import pytest
import torch

DEVICE = "npu"
TOKENS, EXPERTS, HIDDEN = 6, 4, 5


@pytest.fixture
def te(standins):
    import transformer_engine.pytorch

    torch.manual_seed(7)
    return transformer_engine.pytorch


@pytest.fixture
def routing():
    generator = torch.Generator().manual_seed(2)
    chosen = torch.zeros(TOKENS, EXPERTS, dtype=torch.bool)
    for token in range(TOKENS):
        chosen[token, torch.randperm(EXPERTS, generator=generator)[:2]] = True
    return chosen, torch.rand(TOKENS, EXPERTS, generator=generator) * chosen


def test_permute_and_back(te, routing):
    chosen, probs = routing
    x = torch.randn(TOKENS, HIDDEN, device=DEVICE, requires_grad=True)
    rows, weights, row_map = te.moe_permute_with_probs(
        x, probs.to(DEVICE), chosen.to(DEVICE), num_out_tokens=2 * TOKENS
    )
    order = [(e, t) for e in range(EXPERTS) for t in range(TOKENS) if chosen[t, e]]
    torch.testing.assert_close(rows.cpu(), torch.stack([x.detach().cpu()[t] for _, t in order]))
    torch.testing.assert_close(weights.cpu(), torch.stack([probs[t, e] for e, t in order]))
    back = te.moe_unpermute(rows, row_map, merging_probs=probs.to(DEVICE), restore_shape=x.shape)
    torch.testing.assert_close(back.cpu(), x.detach().cpu() * probs.sum(1, keepdim=True))
    back.sum().backward()
    torch.testing.assert_close(x.grad.cpu(), probs.sum(1, keepdim=True).expand(-1, HIDDEN))
    plain, plain_map = te.moe_permute(x, chosen.to(DEVICE), num_out_tokens=2 * TOKENS)
    torch.testing.assert_close(
        te.moe_unpermute(plain, plain_map, restore_shape=x.shape).cpu(), 2 * x.detach().cpu()
    )


def test_permute_by_index(te):
    x = torch.randn(TOKENS, HIDDEN, device=DEVICE)
    indices = torch.tensor([[0, 2], [1, 0], [2, 1], [0, 1], [2, 0], [1, 2]], device=DEVICE, dtype=torch.int32)
    rows, row_map = te.moe_permute(x, indices, map_type="index")
    want = [t for e in range(3) for t in range(TOKENS) if e in indices[t].tolist()]
    torch.testing.assert_close(rows.cpu(), x.cpu()[want])
    probs = torch.rand(TOKENS, 2, device=DEVICE)
    back = te.moe_unpermute(rows, row_map, merging_probs=probs, map_type="index")
    torch.testing.assert_close(back.cpu(), (x * probs.sum(1, keepdim=True)).cpu())


def test_chunks_in_another_order(te):
    x, probs = torch.randn(6, HIDDEN, device=DEVICE), torch.rand(6, device=DEVICE)
    sizes, order = torch.tensor([1, 3, 2]), torch.tensor([2, 0, 1])
    want = [4, 5, 0, 1, 2, 3]
    got, got_probs = te.moe_sort_chunks_by_index_with_probs(x, probs, sizes, order)
    assert torch.equal(got.cpu(), x.cpu()[want]) and torch.equal(got_probs.cpu(), probs.cpu()[want])


@pytest.mark.parametrize("trans_b", [False, True])
def test_grouped_gemm(standins, trans_b):
    from grouped_gemm import ops

    a = torch.randn(7, 4, device=DEVICE, requires_grad=True)
    b = torch.randn(3, *((5, 4) if trans_b else (4, 5)), device=DEVICE, requires_grad=True)
    sizes = torch.tensor([4, 0, 3])
    out = ops.gmm(a, b, sizes, trans_b=trans_b)
    plain = b.transpose(1, 2) if trans_b else b
    want = torch.cat([part @ plain[i] for i, part in enumerate(a.split([4, 0, 3]))])
    torch.testing.assert_close(out, want)
    for got, wanted in zip(
        *(torch.autograd.grad(y.square().sum(), (a, b)) for y in (out, want)), strict=True
    ):
        torch.testing.assert_close(got, wanted)
    with pytest.raises(ValueError, match="b has 3 matrices, batch_sizes 2 groups"):
        ops.gmm(a, b, sizes[:2])


@pytest.mark.parametrize("function", ["softmax", "sigmoid"])
@pytest.mark.parametrize("pre", [False, True])
def test_routing(te, function, pre):
    logits = torch.randn(TOKENS, 8)
    probs, chosen = te.router.fused_topk_with_score_function(
        logits.to(DEVICE), 2, pre, None, None, 2.5, function, torch.zeros(8, device=DEVICE)
    )
    scores = logits.sigmoid() if function == "sigmoid" else logits.softmax(-1) if pre else logits
    values, indices = scores.topk(2, dim=-1)
    if function == "sigmoid":
        values = values / values.sum(-1, keepdim=True)
    elif not pre:
        values = values.softmax(-1)
    want = torch.zeros_like(logits).scatter(1, indices, 2.5 * values)
    torch.testing.assert_close(probs.cpu(), want)
    assert torch.equal(chosen.cpu(), want > 0)


def test_routing_within_groups(te):
    logits = torch.tensor([[3.0, -3.0, 2.0, 2.5, -1.0, -1.0, 0.0, 0.0]])
    _, chosen = te.router.fused_topk_with_score_function(
        logits.to(DEVICE), 2, True, 4, 1, None, "sigmoid", None
    )
    assert chosen.cpu().nonzero()[:, 1].tolist() == [2, 3]  # the best pair, though 3.0 is the best of all
