# SPDX-License-Identifier: Apache-2.0
"""Native sparse attention, the loss of an indexer of attention with sinks, and hyper-connections through torch_npu: that
its calls reach the operators with their arguments in order. What they compute: tests/ops. One process for all: what
takes time is the start."""

from __future__ import annotations

from pathlib import Path

from test_runtime_torch import run

TRAINING = """
import torch_npu
torch.manual_seed(3)
T, N, G, D, V, SIZES = 70, 4, 2, 16, 8, (32, 16, 64, 2)
query, key, value = torch.randn(T, N, D), torch.randn(5, G, D), torch.randn(5, G, V)
on_device = [t.half().npu().requires_grad_() for t in (query, key, value)]
wide = [t.detach().cpu().double().requires_grad_() for t in on_device]
lengths = {"actual_seq_qlen": [40, T], "actual_cmp_seq_kvlen": [3, 5], "actual_sel_seq_kvlen": [1, 2]}
mask = torch.arange(3)[None] * 16 + 31 > torch.arange(40)[:, None]
out, chosen, top, total = torch_npu.npu_nsa_compress_attention(
    *on_device, 0.25, N, *SIZES, atten_mask=mask.npu(), **lengths)
parts = []
for rows, seen in ((slice(0, 40), slice(0, 3)), (slice(40, T), slice(3, 5))):
    k, v = (t[seen].repeat_interleave(N // G, 1) for t in wide[1:])
    score = torch.einsum("ihd,jhd->hij", wide[0][rows], k) * 0.25
    score = score.masked_fill(mask[: score.shape[1], : score.shape[2]], -1e9)
    weights = score.softmax(-1) * ~mask[: score.shape[1], : score.shape[2]]
    parts.append(torch.einsum("hij,jhd->ihd", weights, v))
want, grad = torch.cat(parts), torch.randn(T, N, V).half()
torch.testing.assert_close(out.detach().cpu().double(), want.detach(), rtol=2e-3, atol=2e-3)
assert chosen.cpu().tolist() == [[[0, -1]] * G] * T
out.backward(grad.npu())
for got, expected in zip(on_device, torch.autograd.grad(want, wide, grad.double())):
    torch.testing.assert_close(got.grad.cpu().double(), expected, rtol=1e-2, atol=1e-2)
print("trained")
"""

DECODING = """
B, N, G, D, V, PAGE = 2, 4, 2, 16, 8, 16
query = torch.randn(B, N, D).half()
key, value = torch.randn(6, PAGE, G * D).half(), torch.randn(6, PAGE, G * V).half()
table, lengths = torch.tensor([[5, 0, 3], [1, 4, 2]]).int(), [40, 20]


def dense(b, rows):
    k, v = (t[table[b].long()].reshape(-1, G, t.shape[2] // G)[rows].double().repeat_interleave(N // G, 1)
            for t in (key, value))
    return torch.einsum("hj,jhd->hd", (torch.einsum("hd,jhd->hj", query[b].double(), k) * 0.25).softmax(-1), v)


out, chosen = torch_npu.npu_nsa_compress_attention_infer(
    query.npu(), key.npu(), value.npu(), 0.25, N, G, 64, 3, PAGE, 32, 16, block_table=table.npu(),
    actual_cmp_seq_kvlen=lengths)
for b in range(B):
    torch.testing.assert_close(out[b].cpu().double(), dense(b, slice(0, lengths[b])), rtol=2e-3, atol=2e-3)
# 40 compressed keys are 656 tokens, 11 blocks; 20 are 336, 6 blocks
assert chosen.cpu().tolist() == [[[0, 9, 10]] * G, [[0, 4, 5]] * G]
picked = torch.tensor([[[1, 0]] * G, [[1, -1]] * G]).int()
for layout in ("TND", "BSH"):
    q = query.view(B, 1, N * D) if layout == "BSH" else query
    out = torch_npu.npu_nsa_select_attention_infer(
        q.npu(), key.npu(), value.npu(), picked.npu(), 0.25, N, G, 16, 2, PAGE, layout=layout,
        block_table=table.npu(), actual_seq_kvlen=lengths)
    for b, rows in ((0, [*range(16, 32), *range(16)]), (1, range(16, 20))):
        torch.testing.assert_close(out[b].view(N, V).cpu().double(), dense(b, list(rows)), rtol=2e-3, atol=2e-3)
print("decoded")
"""

SINKS = """
query, key = torch.randn(1, 3, 4, 16).half(), torch.randn(1, 8, 1, 16).half()
q_index, k_index, weights = torch.randn(1, 3, 2, 16).half(), torch.randn(1, 8, 1, 16).half(), torch.rand(1, 3, 2).half()
index, sinks = torch.arange(8).expand(1, 3, 1, 8).int().contiguous(), torch.tensor([0.5, -1.0, 2.0, 0.0])
score = torch.einsum("ihd,jd->ihj", query[0].double(), key[0, :, 0].double()) * 0.25
hidden = torch.arange(8)[None] > torch.arange(3)[:, None] + 5
score = score.masked_fill(hidden[:, None], -1e9)
both = torch.cat((score, sinks.double()[None, :, None].expand(3, 4, 1)), 2)
top, p = both.max(-1).values, both.softmax(-1)[..., :8].sum(1)
stats = [s.float()[None, None].npu() for s in (top, (both - top[..., None]).exp().sum(-1))]
*grads, loss = torch_npu.npu_sparse_lightning_indexer_grad_kl_loss(
    query.npu(), key.npu(), q_index.npu(), k_index.npu(), weights.npu(), index.npu(), *stats, 0.25, sinks=sinks.npu())
p = p / p.sum(-1, keepdim=True)
learned = (torch.einsum("ihd,jd->ihj", q_index[0].double(), k_index[0, :, 0].double()).relu()
           * weights[0].double()[..., None]).sum(1).masked_fill(hidden, -1e9).log_softmax(-1)
want = (p * (p.clamp(min=1e-30).log() - learned)).masked_fill(hidden, 0).sum()
torch.testing.assert_close(loss.cpu().double().reshape(()), want, rtol=1e-3, atol=1e-4)
print("learned")
"""

CONNECTIONS = """
x, phi, alpha, bias = torch.randn(5, 4, 32), torch.randn(24, 128) * 0.1, torch.rand(3) + 0.2, torch.randn(24)
ins = [t.double().requires_grad_() for t in (x.bfloat16(), phi, alpha, bias)]
flat = ins[0].reshape(5, 128)
m = (flat @ ins[1].t()) * (flat.square().mean(-1, keepdim=True) + 1e-6).rsqrt()
m = m * ins[2][torch.tensor([0] * 4 + [1] * 4 + [2] * 16)] + ins[3]
pre, post, res = m[:, :4].sigmoid() + 1e-6, 2 * m[:, 4:8].sigmoid(), m[:, 8:].view(5, 4, 4)
h = (pre[..., None] * ins[0]).sum(1)
for precise in (0, 1):
    made = torch_npu.npu_mhc_pre(x.bfloat16().npu(), phi.npu(), alpha.npu(), bias.npu(), out_flag=1,
                                 inner_precise=precise)
    torch.testing.assert_close(made[0].cpu().double(), h.detach(), rtol=2e-2, atol=2e-2)
    grads = [torch.randn_like(t) for t in (h, post, res)]
    got = torch_npu.npu_mhc_pre_backward(
        x.bfloat16().npu(), phi.npu(), alpha.npu(), grads[0].bfloat16().npu(), *(g.float().npu() for g in grads[1:]),
        *made[3:], made[1], inner_precise=precise)
    wanted = torch.autograd.grad((h, post, res), ins, [grads[0].bfloat16().double(), *grads[1:]], retain_graph=True)
    for found, expected in zip(got, wanted):
        torch.testing.assert_close(found.cpu().double().reshape(expected.shape), expected, rtol=2e-2, atol=2e-2)
print("connected")
"""


def test_calls_reach_the_operators(tmp_path: Path) -> None:
    assert run(TRAINING + DECODING + SINKS + CONNECTIONS, tmp_path).split()[-4:] == [
        "trained",
        "decoded",
        "learned",
        "connected",
    ]
