# SPDX-License-Identifier: Apache-2.0
"""Operators of mixtures of experts and of large vocabularies through torch_npu, results and gradients.

Tokens permuted, multiplied in groups, gated, and put back with their weights equal the plain computation in float64. One
process for all: what takes time is the start."""

from __future__ import annotations

from pathlib import Path

from test_runtime_torch import run

PIPELINE = """
import torch_npu
STEPS, ROWS = 2, 0


class Grouped(torch.autograd.Function):
    '''y = x @ w[g] for the rows of each group, its gradients from the same operator.'''

    @staticmethod
    def forward(ctx, x, w, ends):
        ctx.save_for_backward(x, w, ends)
        return torch_npu.npu_grouped_matmul([x], [w], group_list=ends, split_item=3, group_type=ROWS)[0]

    @staticmethod
    def backward(ctx, g):
        x, w, ends = ctx.saved_tensors
        dx = torch_npu.npu_grouped_matmul([g], [w.transpose(1, 2)], group_list=ends, split_item=3, group_type=ROWS)[0]
        dw = torch_npu.npu_grouped_matmul([x.t()], [g], group_list=ends, split_item=3, group_type=STEPS)[0]
        return dx, dw, None


def experts_of(probs, chosen, tokens, w1, w2, form):
    k, experts = chosen.shape[1], len(w1)
    counts = torch.bincount(chosen.flatten().cpu(), minlength=experts)
    ends = counts.cumsum(0).npu()
    if form == "indices":
        rows, places = torch_npu.npu_moe_token_permute(tokens, chosen.int(), chosen.numel())
    else:
        routing = torch.zeros(len(tokens), experts, dtype=torch.bool, device=tokens.device).scatter(1, chosen, True)
        rows, _, places = torch_npu.npu_moe_token_permute_with_routing_map(tokens, routing, num_out_tokens=chosen.numel())
    rows = Grouped.apply(torch_npu.npu_swiglu(Grouped.apply(rows, w1, ends)), w2, ends)
    if form == "indices":
        return torch_npu.npu_moe_token_unpermute(rows, places, probs.gather(1, chosen))
    return torch_npu.npu_moe_token_unpermute_with_routing_map(
        rows, places, list(tokens.shape), probs=probs, routing_map=routing)


def plain(probs, chosen, tokens, w1, w2):
    out = torch.zeros_like(tokens)
    for e in range(len(w1)):
        token, place = (chosen == e).nonzero(as_tuple=True)
        a, b = (tokens[token] @ w1[e]).chunk(2, -1)
        y = (torch.nn.functional.silu(a) * b) @ w2[e]
        out = out.index_add(0, token, y * probs[token, e][:, None])
    return out


torch.manual_seed(1)
T, K, E, H, F = 37, 3, 6, 24, 20
for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 3e-2), (torch.float16, 4e-3)):
    for form in ("indices", "map"):
        scores = torch.randn(T, E)
        scores[:, 2] = -9.0  # an expert without tokens
        chosen = scores.topk(K)[1]
        given = [scores.softmax(-1), torch.randn(T, H), torch.randn(E, H, 2 * F) / H**0.5, torch.randn(E, F, H) / F**0.5]
        device = [t.to(dtype).npu().requires_grad_() for t in given]
        exact = [t.detach().cpu().double().requires_grad_() for t in device]
        out = experts_of(device[0], chosen.npu(), *device[1:], form)
        want = plain(exact[0], chosen, *exact[1:])
        grad = torch.randn(T, H).to(dtype)
        out.backward(grad.npu())
        want.backward(grad.double())
        for name, got, expected in [("result", out.detach(), want.detach()),
                                    *((n, d.grad, x.grad) for n, d, x in zip(("probs", "tokens", "w1", "w2"), device, exact))]:
            error = (got.cpu().double() - expected).norm() / expected.norm()
            assert error < tolerance, (dtype, form, name, error.item())  # NaN fails too

# Group lists of all kinds; forms that torch_npu refuses where the fourth version is missing.
x, w = torch.randn(10, 8).npu(), torch.randn(3, 8, 5).npu()
want = torch.cat([a @ b for a, b in zip(x.cpu().split((4, 0, 6)), w.cpu())])
for lists in (dict(group_list=[4, 4, 10], weight=list(w)), dict(group_list=torch.tensor([4, 4, 10]).npu(), weight=[w], group_type=ROWS),
              dict(group_list=torch.tensor([4, 0, 6]).npu(), weight=list(w), group_type=ROWS, group_list_type=1)):
    got = torch_npu.npu_grouped_matmul([x], split_item=2, **lists)[0]
    assert (got.cpu() - want).abs().max() < 1e-5
main, grad = torch.ones(3, 8, 5).npu(), torch.randn(10, 5).bfloat16().npu()
same = torch_npu.npu_grouped_matmul_add_(main, x.bfloat16(), grad, torch.tensor([4, 4, 10]).npu(), transpose_x=True, transpose_weight=False, group_type=STEPS)
want = torch.stack([1 + a.t() @ b for a, b in zip(x.bfloat16().float().cpu().split((4, 0, 6)), grad.float().cpu().split((4, 0, 6)))])
assert same is main and (main.cpu() - want).abs().max() < 1e-5
try:
    torch_npu.npu_grouped_matmul([x.to(torch.int8)], [w.to(torch.int8)], group_list=torch.tensor([4, 4, 10]).npu(), split_item=3, group_type=ROWS)
    torch.npu.synchronize()
except RuntimeError as error:
    assert "x is int8 and there is no scaleOptional for y int8" in str(error), error
else:
    raise AssertionError("no scale")


# Routing of inference: gate, expand, multiply, sum.
scores, x = torch.randn(T, E), torch.randn(T, H)
y, expert, row = torch_npu.npu_moe_gating_top_k_softmax(scores.npu(), k=K)
want_y, want_expert = scores.softmax(-1).topk(K)
assert torch.equal(expert.cpu(), want_expert.int()) and (y.cpu() - want_y).abs().max() < 1e-6
rows, where, sorted_ = torch_npu.npu_moe_init_routing(x.npu(), row, expert, T)
ends = torch_npu.npu_moe_compute_expert_tokens(sorted_, E)
w = torch.randn(E, H, H)
out = torch_npu.npu_grouped_matmul([rows], [w.npu()], group_list=ends.long(), split_item=3, group_type=ROWS)[0]
out = torch_npu.npu_moe_finalize_routing(out, x.npu(), None, None, y, where, expert)
want = x + sum(want_y[:, k : k + 1] * torch.einsum("th,thi->ti", x, w[want_expert[:, k]]) for k in range(K))
assert (out.cpu() - want).abs().max() < 1e-4

# The gate with limited groups, and its gradient by torch_npu's autograd.
x = torch.randn(T, 8).npu().requires_grad_()
y, expert, _ = torch_npu.npu_moe_gating_top_k(x, 3, bias=torch.randn(8).npu(), k_group=2, group_count=4, norm_type=1, out_flag=True)
y.backward(torch.arange(3.0).npu().expand(T, 3))
exact = x.detach().cpu().double().requires_grad_()
s = exact.sigmoid().gather(1, expert.cpu().long())
(s / s.sum(1, keepdim=True) * torch.arange(3.0)).sum().backward()
assert (x.grad.cpu() - exact.grad).abs().max() < 1e-5

# Scores of attention, by name on this generation of devices.
x, mask = torch.randn(2, 3, 32, 32), torch.rand(2, 1, 32, 32) > 0.6
for fixed in (False, True):
    device, exact = x.npu().requires_grad_(), x.double().requires_grad_()
    got = torch_npu.npu_scaled_masked_softmax(device, mask.npu(), 0.3, fixed)
    want = (exact * 0.3).masked_fill(torch.ones(32, 32).triu(1).bool() if fixed else mask, -10000).softmax(-1)
    got.backward(torch.ones_like(got).cumsum(-1))
    want.backward(torch.ones_like(want).cumsum(-1))
    assert (got.detach().cpu() - want.detach()).abs().max() < 1e-6
    assert (device.grad.cpu() - exact.grad).abs().max() < 1e-5

# A vocabulary on one rank.
x, w, target = torch.randn(20, 16).bfloat16(), torch.randn(130, 16).bfloat16(), torch.randint(0, 130, (20,))
for keep in (True, False):
    most, total, predicted, absent, local, logits = torch_npu.npu_fused_linear_online_max_sum(
        x.npu(), w.npu(), target.npu(), 0, 129, return_logits=keep)
    loss, softmax = torch_npu.npu_fused_cross_entropy_loss_with_max_sum(most, total, predicted, vocab_parallel_logits=logits)
    dx, dw = torch_npu.npu_fused_linear_cross_entropy_loss_with_max_sum_backward(
        torch.ones(20).npu(), x.npu(), w.npu(), absent, local, 0.0, None if keep else most, None if keep else total, softmax)
    a, b = x.double().requires_grad_(), w.double().requires_grad_()
    want = torch.nn.functional.cross_entropy(a @ b.t(), target, reduction="none")
    want.sum().backward()
    assert (loss.cpu() - want.detach()).abs().max() < 1e-4
    assert (dx.cpu().double() - a.grad).norm() / a.grad.norm() < 2e-2 and (dw.cpu().double() - b.grad).norm() / b.grad.norm() < 2e-2
try:
    torch_npu.npu_fused_cross_entropy_loss_with_max_sum(most, total, predicted, label_smoothing=0.5)
except RuntimeError as error:
    assert "labelSmoothing is 0.5, wanted 0" in str(error), error
else:
    raise AssertionError("smoothing of 0.5 was taken for 0")
print("ends")
"""


def test_experts_and_losses_equal_the_plain_computation(tmp_path: Path) -> None:
    assert run(PIPELINE, tmp_path).strip().endswith("ends")
