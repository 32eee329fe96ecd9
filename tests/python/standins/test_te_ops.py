# SPDX-License-Identifier: Apache-2.0
"""Transformer Engine's operations in turn, against plain PyTorch; over ranks against one rank with the whole."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from mindspeed.standins.refusal import RefusedError
from thread_ranks import on_ranks

S, HIDDEN, WIDE, SIZE = 6, 8, 12, 2
# torch_npu may drop the argument approximate (docs/conformance.md): up to 9e-4.
GELU_BOUND = 1e-3


@pytest.fixture
def ops(standins):
    from transformer_engine.pytorch import ops

    torch.manual_seed(4)
    return ops


def gelu(x):
    return F.gelu(x, approximate="tanh")


@pytest.mark.parametrize(
    ("name", "function", "gated"),
    [
        ("GELU", gelu, False), ("GEGLU", gelu, True), ("ReLU", F.relu, False), ("ReGLU", F.relu, True),
        ("SiLU", F.silu, False), ("SwiGLU", F.silu, True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("device", ["cpu", "npu"])
def test_activations(ops, name, function, gated, device):
    x = torch.randn(5, 2 * HIDDEN, device=device, requires_grad=True)
    out = getattr(ops, name)(cache_quantized_input=False)(x)
    plain = x.detach().cpu().double().requires_grad_()
    gate, value = plain.chunk(2, dim=-1)
    want = function(gate) * value if gated else function(plain)
    bound = GELU_BOUND if function is gelu else 1e-6
    torch.testing.assert_close(out.detach().cpu().double(), want.detach(), rtol=bound, atol=bound)
    out.sum().backward()
    want.sum().backward()
    torch.testing.assert_close(x.grad.cpu().double(), plain.grad, rtol=4 * bound, atol=4 * bound)


def test_what_is_not_there_is_refused(ops):
    with pytest.raises(RefusedError, match="cache_quantized_input=True"):
        ops.GELU(cache_quantized_input=True)
    with pytest.raises(RefusedError, match="tp-comm-overlap"):
        ops.BasicLinear(4, 4, userbuffers_options={"comm_name": "fc1"})


@pytest.mark.parametrize("norm", ["LayerNorm", "RMSNorm"])
def test_an_mlp_of_operations(ops, norm):
    """As Megatron's TEFusedMLP builds it: parameters of other layers put into operations made on the meta device."""
    first, second = torch.nn.Linear(HIDDEN, WIDE, device="npu"), torch.nn.Linear(WIDE, HIDDEN, device="npu")
    scale = torch.nn.Parameter(torch.rand(HIDDEN, device="npu"))
    shift = torch.nn.Parameter(torch.rand(HIDDEN, device="npu"))
    mlp = ops.Sequential()
    kwargs = {"eps": 1e-4, "device": "meta", "dtype": torch.float32, "zero_centered_gamma": False}
    mlp.append(getattr(ops, norm)(HIDDEN, **kwargs))
    mlp[0].weight = scale
    if norm == "LayerNorm":
        mlp[0].bias = shift
    for layer in (first, second):
        mlp.append(ops.BasicLinear(layer.in_features, layer.out_features, device="meta", dtype=torch.float32))
        mlp[-1].weight = layer.weight
        mlp.append(ops.Bias(layer.out_features, device="meta", dtype=torch.float32))
        mlp[-1].bias = layer.bias
        if layer is first:
            mlp.append(ops.ReLU())
    x = torch.randn(S, 2, HIDDEN, device="npu", requires_grad=True)
    normed = (
        F.layer_norm(x, (HIDDEN,), scale, shift, 1e-4)
        if norm == "LayerNorm"
        else F.rms_norm(x, (HIDDEN,), scale, 1e-4)
    )
    want = second(F.relu(first(normed)))
    out = mlp(x)
    torch.testing.assert_close(out, want, rtol=1e-5, atol=1e-5)
    inputs = [x, scale, first.weight, first.bias, second.weight, second.bias]
    for got, wanted in zip(
        torch.autograd.grad(out.sin().sum(), inputs),
        torch.autograd.grad(want.sin().sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sequence_parallel", [False, True])
def test_over_ranks(ops, sequence_parallel):
    """Columns of the first product and rows of the second on every rank; the sum whole, or its rows shared."""
    x = torch.randn(S, HIDDEN)
    first, second = torch.randn(WIDE, HIDDEN), torch.randn(HIDDEN, WIDE)
    whole = x.clone().requires_grad_()
    want = F.relu(whole @ first.t()) @ second.t()
    want.sin().sum().backward()

    def work(rank, group):
        mine = x.chunk(SIZE)[rank] if sequence_parallel else x
        mine = mine.clone().requires_grad_()
        mlp = ops.Sequential(
            ops.BasicLinear(
                HIDDEN, WIDE, device="cpu", dtype=torch.float32, tensor_parallel_mode="column",
                tensor_parallel_group=group, sequence_parallel=sequence_parallel,
            ),
            ops.ReLU(),
            ops.BasicLinear(WIDE // SIZE, HIDDEN, device="cpu", dtype=torch.float32),
            (ops.ReduceScatter if sequence_parallel else ops.AllReduce)(group),
        )  # fmt: skip
        with torch.no_grad():
            mlp[0].weight.copy_(first.chunk(SIZE)[rank])
            mlp[2].weight.copy_(second.chunk(SIZE, dim=1)[rank])
        out = mlp(mine)
        out.sin().sum().backward()
        return out.detach(), mine.grad

    results = on_ranks(work, SIZE)
    outs, grads = [r[0] for r in results], [r[1] for r in results]
    if sequence_parallel:
        outs, grads = [torch.cat(outs)], [torch.cat(grads)]
    for out, grad in zip(outs, grads, strict=True):
        torch.testing.assert_close(out, want.detach(), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(grad, whole.grad, rtol=1e-5, atol=1e-5)


def test_rows_that_do_not_come_out_even(ops):
    def work(rank, group):
        with pytest.raises(ValueError, match="5 rows over 2 ranks"):
            ops.ReduceScatter(group)(torch.ones(5, 2))

    on_ranks(work, SIZE)
