# SPDX-License-Identifier: Apache-2.0
"""Operators that mindspeed.ops offers, against their definition in plain PyTorch on the CPU."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import Any

import mindspeed.ops
import pytest
import torch
import torch_npu
from mindspeed.ops.dropout_add_layer_norm import npu_dropout_add_layer_norm
from mindspeed.ops.dropout_add_rms_norm import npu_dropout_add_rms_norm
from mindspeed.ops.ffn import npu_ffn
from mindspeed.ops.fusion_attention_v2 import npu_fusion_attention, npu_fusion_attention_grad
from mindspeed.ops.gmm import npu_gmm, npu_gmm_v2
from mindspeed.ops.npu_apply_fused_adamw_v2 import npu_apply_fused_adamw_v2
from mindspeed.ops.npu_apply_fused_ema_adamw import npu_apply_fused_ema_adamw
from mindspeed.ops.npu_groupmatmul_add import npu_groupmatmul_add_fp32
from mindspeed.ops.npu_matmul_add import npu_matmul_add_fp16, npu_matmul_add_fp32
from mindspeed.ops.npu_moe_token_permute import npu_moe_token_permute
from mindspeed.ops.npu_moe_token_unpermute import npu_moe_token_unpermute
from mindspeed.ops.npu_ring_attention_update import npu_ring_attention_update
from mindspeed.ops.npu_rotary_position_embedding import npu_rotary_position_embedding
from torch import Tensor

REFUSED = {
    "quant_gmm": ("npu_quant_gmm", "npu_quant_gmm_v2"),
    "weight_quant_gmm": ("npu_weight_quant_gmm", "npu_weight_quant_gmm_v2"),
    "gmm_mxfp8": ("npu_quant_group_gemm",),
    "gmm_w4a8": ("npu_gmm",),
    "npu_all_to_all_all_gather_bmm": ("npu_alltoall_allgather_bmm",),
    "npu_bmm_reduce_scatter_all_to_all": ("npu_bmm_reducescatter_alltoall",),
    "npu_grouped_mat_mul_all_reduce": ("npu_grouped_mat_mul_all_reduce",),
}


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(3)


def near(ours: Tensor, theirs: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(ours.detach().cpu(), theirs.detach(), rtol=tolerance, atol=tolerance)


def grad_of(result: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
    weights = torch.linspace(-1, 1, result.numel()).view(result.shape).to(result)
    return torch.autograd.grad((result * weights).sum(), leaves)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_there_says_so(name: str) -> None:
    module = importlib.import_module(f"mindspeed.ops.{name}")
    for operator in REFUSED[name]:
        with pytest.raises(NotImplementedError, match=f"{operator} is not supported; "):
            getattr(module, operator)()


def test_every_public_operator_is_described() -> None:
    for info in pkgutil.iter_modules(mindspeed.ops.__path__):
        module = importlib.import_module(f"mindspeed.ops.{info.name}")
        for name in getattr(module, "__all__", ()):
            assert inspect.getdoc(getattr(module, name)), f"{info.name}.{name}"


@pytest.mark.parametrize("mode", [0, 1])
def test_rotary(mode: int) -> None:
    x, cos, sin = torch.randn(2, 5, 3, 8), torch.randn(1, 5, 1, 8), torch.randn(1, 5, 1, 8)
    if mode == 0:
        low, high = x.chunk(2, -1)
        turned = torch.cat((-high, low), -1)
    else:
        turned = torch.stack((-x[..., 1::2], x[..., ::2]), -1).flatten(-2)
    near(npu_rotary_position_embedding(x.npu(), cos.npu(), sin.npu(), mode), x * cos + turned * sin)
    with pytest.raises(ValueError, match="mode is 2"):
        npu_rotary_position_embedding(x.npu(), cos.npu(), sin.npu(), 2)


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    q, k, v = (t.unflatten(2, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    return ((q @ k.transpose(2, 3) * 0.3).softmax(-1) @ v).transpose(1, 2).flatten(2)


def test_attention_and_its_gradient() -> None:
    leaves = [torch.randn(2, 6, 16, requires_grad=True) for _ in range(3)]
    theirs = attention(*leaves, 4)
    inputs = [t.detach().npu().requires_grad_() for t in leaves]
    ours, most, total, *_ = npu_fusion_attention(*inputs, 4, "BSH", scale=0.3)
    near(ours, theirs)
    expected = grad_of(theirs, *leaves)
    for one, two in zip(grad_of(ours, *inputs), expected, strict=True):
        near(one, two)
    weights = torch.linspace(-1, 1, theirs.numel()).view(theirs.shape).npu()
    with torch.no_grad():
        explicit = npu_fusion_attention_grad(
            *inputs, weights, 4, "BSH", softmax_max=most, softmax_sum=total, attention_in=ours, scale=0.3
        )
    for one, two in zip(explicit[:3], expected, strict=True):
        near(one, two)


def test_halves_of_the_keys_become_the_whole() -> None:
    q, k, v = (torch.randn(6, 2, 16) for _ in range(3))
    parts = []
    for half in (slice(0, 3), slice(3, 6)):
        parts += npu_fusion_attention(q.npu(), k[half].npu(), v[half].npu(), 4, "SBH", scale=0.3)[:3]
    ours = npu_ring_attention_update(*parts)[0]
    near(ours, attention(*(t.transpose(0, 1) for t in (q, k, v)), 4).transpose(0, 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products_added_in_float32(dtype: torch.dtype) -> None:
    x, dy, grad = torch.randn(9, 5).to(dtype), torch.randn(9, 4).to(dtype), torch.randn(4, 5)
    ours = grad.npu()
    npu_matmul_add_fp32(x.npu(), dy.npu(), ours)
    near(ours, grad + dy.float().t() @ x.float())
    npu_matmul_add_fp32(x[:0].npu(), dy[:0].npu(), ours)
    near(ours, grad + dy.float().t() @ x.float())
    with pytest.raises(TypeError, match=r"torch.float16, wanted torch.float32"):
        npu_matmul_add_fp32(x.npu(), dy.npu(), ours.half())
    half = grad.npu().to(dtype)
    npu_matmul_add_fp16(x.npu(), dy.npu(), half)
    near(half.float(), grad + dy.float().t() @ x.float(), 0.1)


def test_products_of_groups_added() -> None:
    x, dy, grad = torch.randn(9, 5).bfloat16(), torch.randn(9, 4).bfloat16(), torch.randn(2, 5, 4)
    ours = grad.npu()
    npu_groupmatmul_add_fp32(x.npu(), dy.npu(), torch.tensor([3, 9]), ours)
    parts = [x[r].float().t() @ dy[r].float() for r in (slice(0, 3), slice(3, 9))]
    near(ours, grad + torch.stack(parts))


@pytest.mark.parametrize("form", ["list", "ends", "counts"])
def test_products_of_groups(form: str) -> None:
    x, weight = torch.randn(9, 5, requires_grad=True), torch.randn(3, 5, 4, requires_grad=True)
    theirs = torch.cat([x[:3] @ weight[0], x[3:3] @ weight[1], x[3:] @ weight[2]])
    a, b = x.detach().npu().requires_grad_(), weight.detach().npu().requires_grad_()
    if form == "counts":
        ours = npu_gmm_v2(a, b, group_list=torch.tensor([3, 0, 6]).npu())
    else:
        ends: Any = [3, 3, 9]
        ours = npu_gmm(a, b, group_list=ends if form == "list" else torch.tensor(ends).npu())
    near(ours, theirs)
    for one, two in zip(grad_of(ours, a, b), grad_of(theirs, x, weight), strict=True):
        near(one, two)


@pytest.mark.parametrize("zero", [False, True], ids=["", "zero_out_wgrad"])
@pytest.mark.parametrize("operator", [npu_gmm, npu_gmm_v2])
def test_gradients_of_groups_go_to_the_accumulator(operator: Any, zero: bool) -> None:
    x, weight = torch.randn(9, 5).bfloat16().npu(), torch.randn(2, 5, 4).bfloat16().npu().requires_grad_()
    weight.main_grad = torch.ones(2, 5, 4).npu()
    weight.grad_added_to_main_grad, weight.zero_out_wgrad = False, zero
    groups = torch.tensor([3, 9] if operator is npu_gmm else [3, 6]).npu()
    operator(x, weight, group_list=groups, gemm_fusion=True, original_weight=weight).sum().backward()
    expected = 1 + torch.stack([x[:3].float().sum(0), x[3:].float().sum(0)]).unsqueeze(2).expand(2, 5, 4)
    near(weight.main_grad, expected.cpu())
    assert weight.grad_added_to_main_grad and weight.grad.shape == weight.shape
    assert not zero or not weight.grad.any()


def test_wrong_groups_are_refused() -> None:
    x, weight = torch.randn(9, 5).npu(), torch.randn(2, 5, 4).npu()
    with pytest.raises(ValueError, match="npu_gmm: group_list is None"):
        npu_gmm(x, weight)
    with pytest.raises(TypeError, match="npu_gmm_v2: group_list is torch.int32"):
        npu_gmm_v2(x, weight, group_list=torch.tensor([3, 6], dtype=torch.int32).npu())
    with pytest.raises(ValueError, match="bias needs a gradient"):
        npu_gmm(x, weight, group_list=[3, 9], bias=torch.randn(2, 4).npu().requires_grad_())
    with pytest.raises(ValueError, match="group_type is 2"):
        npu_gmm(x.requires_grad_(), weight, group_list=[3, 9], group_type=2)


def test_tokens_to_experts_and_back() -> None:
    tokens, experts = torch.randn(6, 4), torch.randint(0, 3, (6, 2))
    probs = torch.rand(6, 2)
    permuted, places = npu_moe_token_permute(tokens.npu(), experts.npu())
    order = experts.flatten().argsort(stable=True)
    near(permuted, tokens[order // 2])
    near(npu_moe_token_unpermute(permuted, places, probs.npu()), tokens * probs.sum(1, keepdim=True))


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("maximize", [False, True])
def test_adamw(amsgrad: bool, maximize: bool) -> None:
    value, grad = torch.randn(7), torch.randn(7)
    theirs = torch.nn.Parameter(value.clone())
    options = {"lr": 0.01, "weight_decay": 0.1, "amsgrad": amsgrad, "maximize": maximize}
    reference = torch.optim.AdamW([theirs], **options)
    ours, m, v, most = (t.npu() for t in (value, torch.zeros(7), torch.zeros(7), torch.zeros(7)))
    for step in (1, 2, 3):
        theirs.grad = grad * step
        reference.step()
        npu_apply_fused_adamw_v2(ours, (grad * step).npu(), m, v, most, torch.tensor([step]).npu(), **options)
    near(ours, theirs)
    with pytest.raises(ValueError, match="amsgrad needs max_exp_avg_sq"):
        npu_apply_fused_adamw_v2(ours, grad.npu(), m, v, None, torch.tensor([4]).npu(), amsgrad=True)


@pytest.mark.parametrize("mode", [0, 1])
@pytest.mark.parametrize("corrected", [False, True])
def test_adam_with_a_moving_average(mode: int, corrected: bool) -> None:
    grad, var, m, s = (torch.randn(7) for _ in range(4))
    v = torch.rand(7)
    lr, decay, b1, b2, eps, wd, step = 0.01, 0.9, 0.8, 0.95, 1e-8, 0.1, 10
    ours = npu_apply_fused_ema_adamw(
        *(t.clone().npu() for t in (grad, var, m, v, s)), torch.tensor([step]).npu(), lr, decay, b1, b2, eps, mode,
        corrected, wd,
    )  # fmt: skip
    g = grad + wd * var * (1 - mode)
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
    one, two = (1 - b**step if corrected else 1.0 for b in (b1, b2))
    var = var - lr * (m / one / ((v / two).sqrt() + eps) + wd * var * mode)
    for our, their in zip(ours, (var, m, v, decay * s + (1 - decay) * var), strict=True):
        near(our, their)


@pytest.mark.parametrize("rms", [False, True])
def test_norm_of_a_sum(rms: bool) -> None:
    x, residual, weight, bias, row, column = (
        torch.randn(2, 3, 8), torch.randn(2, 3, 8), torch.randn(8), torch.randn(8), torch.rand(2, 3), torch.rand(8)
    )  # fmt: skip
    operator = npu_dropout_add_rms_norm if rms else npu_dropout_add_layer_norm
    inputs = [t.npu() for t in (x, residual, weight, bias)]
    ours = operator(
        *inputs,
        0.0,
        1e-5,
        rowscale=row.npu(),
        layerscale=column.npu(),
        prenorm=True,
        return_dropout_mask=True,
    )
    total = x * row.unsqueeze(2) * column + residual
    normed = (
        torch.nn.functional.rms_norm(total, (8,), weight, 1e-5) + bias
        if rms
        else torch.nn.functional.layer_norm(total, (8,), weight, bias, 1e-5)
    )
    near(ours[0], normed)
    near(ours[1], total)
    assert ours[2].dtype is torch.uint8 and ours[2].all()


def test_dropout_before_a_norm_drops_and_scales() -> None:
    x, weight = torch.ones(50, 40).npu(), torch.ones(40).npu()
    _, total, mask = npu_dropout_add_rms_norm(
        x, None, weight, None, 0.25, 1e-5, prenorm=True, return_dropout_mask=True
    )
    assert abs(mask.float().mean().item() - 0.75) < 0.05
    near(total, mask.cpu().float() / 0.75)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=("fp32", "bf16"))
def test_experts_from_tokens_to_tokens(dtype: torch.dtype) -> None:
    """Permuted, multiplied, gated, multiplied and brought back with weights; devices have given NaN for this gradient."""
    tokens, k, experts, hidden = 37, 2, 5, 16
    scores = torch.randn(tokens, experts)
    scores[:, 3] = -9.0  # an expert without tokens
    chosen = scores.topk(k)[1]
    given = [
        torch.rand(tokens, k), torch.randn(tokens, hidden),
        torch.randn(experts, hidden, 2 * hidden) / 4, torch.randn(experts, hidden, hidden) / 4,
    ]  # fmt: skip
    probs, x, w1, w2 = ours = [t.to(dtype).npu().requires_grad_() for t in given]
    counts = torch.bincount(chosen.flatten(), minlength=experts).npu()
    rows, places = npu_moe_token_permute(x, chosen.int().npu(), tokens * k)
    inner = torch_npu.npu_swiglu(npu_gmm_v2(rows, w1, group_list=counts))
    out = npu_moe_token_unpermute(npu_gmm_v2(inner, w2, group_list=counts), places, probs)
    exact = [t.detach().cpu().double().requires_grad_() for t in ours]
    want = torch.zeros(tokens, hidden, dtype=torch.float64)
    for e in range(experts):
        token, place = (chosen == e).nonzero(as_tuple=True)
        gate, value = (exact[1][token] @ exact[2][e]).chunk(2, -1)
        y = (torch.nn.functional.silu(gate) * value) @ exact[3][e]
        want = want.index_add(0, token, y * exact[0][token, place].unsqueeze(1))
    grad = torch.randn(tokens, hidden).to(dtype)
    out.backward(grad.npu())
    want.backward(grad.double())
    pairs = [(out, want), *((a.grad, b.grad) for a, b in zip(ours, exact, strict=True))]
    for got, wanted in pairs:
        error = (got.detach().cpu().double() - wanted.detach()).norm() / wanted.detach().norm()
        assert error < (1e-5 if dtype is torch.float32 else 3e-2)  # NaN fails too


@pytest.mark.parametrize("experts", [False, True])
def test_feed_forward(experts: bool) -> None:
    x, counts = torch.randn(9, 6), torch.tensor([4, 0, 5])
    w1, w2, b1 = torch.randn(3, 6, 8), torch.randn(3, 8, 6), torch.randn(3, 8)
    if experts:
        owner = torch.repeat_interleave(torch.arange(3), counts)
        hidden = torch.einsum("tk,tkn->tn", x, w1[owner]) + b1[owner]
        theirs = torch.einsum("tn,tnk->tk", torch.nn.functional.gelu(hidden), w2[owner])
        given = [t.npu() for t in (x, w1, w2)]
        near(npu_ffn(*given, "gelu", expert_tokens=counts.npu(), bias1=b1.npu()), theirs)
        near(npu_ffn(*given, "gelu", expert_tokens_index=counts.cumsum(0).npu(), bias1=b1.npu()), theirs)
    else:
        theirs = torch.relu(x @ w1[0] + b1[0]) @ w2[0]
        near(npu_ffn(x.npu(), w1[0].npu(), w2[0].npu(), "relu", bias1=b1[0].npu()), theirs)
