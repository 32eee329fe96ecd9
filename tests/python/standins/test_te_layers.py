# SPDX-License-Identifier: Apache-2.0
"""Layers of the stand-in for Transformer Engine against plain PyTorch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

DEVICE = "npu"
TOLERANCE = {torch.float32: {"rtol": 1e-5, "atol": 1e-5}, torch.bfloat16: {"rtol": 2e-2, "atol": 2e-2}}


@pytest.fixture
def te(standins):
    import transformer_engine.pytorch

    torch.manual_seed(3)
    return transformer_engine.pytorch


def compare(got, want, dtype):
    torch.testing.assert_close(got.float().cpu(), want.float().cpu(), **TOLERANCE[dtype])


def gradients(out, inputs):
    weights = torch.linspace(-1, 1, out.numel(), device=out.device).view_as(out).to(out.dtype)
    return torch.autograd.grad((out * weights).sum(), inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
def test_linear(te, dtype, bias):
    layer = te.Linear(24, 40, bias=bias, params_dtype=dtype, device=DEVICE)
    x = torch.randn(5, 2, 24, device=DEVICE, dtype=dtype, requires_grad=True)
    parameters = list(layer.parameters())
    assert [n for n, _ in layer.named_parameters()] == ["weight", "bias"][: 1 + bias]
    want = F.linear(x, layer.weight, layer.bias if bias else None)
    out = layer(x)
    compare(out, want, dtype)
    for got, wanted in zip(gradients(out, [x, *parameters]), gradients(want, [x, *parameters]), strict=True):
        compare(got, wanted, dtype)


def test_linear_returns_the_bias_it_does_not_add(te):
    layer = te.Linear(4, 6, return_bias=True, params_dtype=torch.float32, device=DEVICE)
    torch.nn.init.ones_(layer.bias)
    x = torch.randn(3, 4, device=DEVICE)
    out, bias = layer(x)
    compare(out, x @ layer.weight.t(), torch.float32)
    assert bias is layer.bias


@pytest.mark.parametrize("normalization", ["LayerNorm", "RMSNorm"])
@pytest.mark.parametrize("zero_centered", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layer_norm_linear(te, normalization, zero_centered, dtype):
    layer = te.LayerNormLinear(
        16, 8, eps=1e-4, normalization=normalization, zero_centered_gamma=zero_centered, params_dtype=dtype,
        device=DEVICE, return_layernorm_output=True,
    )  # fmt: skip
    names = ["layer_norm_weight", "layer_norm_bias", "weight", "bias"]
    if normalization == "RMSNorm":
        names.remove("layer_norm_bias")
    assert [n for n, _ in layer.named_parameters()] == names
    assert set(layer.state_dict()) == {*names, "_extra_state"}
    assert layer.layer_norm_weight.eq(0.0 if zero_centered else 1.0).all()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(torch.rand_like(parameter) / 4)
    x = torch.randn(6, 16, device=DEVICE, dtype=dtype, requires_grad=True)
    scale = layer.layer_norm_weight + (1 if zero_centered else 0)
    if normalization == "RMSNorm":
        normal = F.rms_norm(x, (16,), scale, 1e-4)
    else:
        normal = F.layer_norm(x, (16,), scale, layer.layer_norm_bias, 1e-4)
    want = F.linear(normal, layer.weight, layer.bias)
    out, got_normal = layer(x)
    compare(got_normal, normal, dtype)
    compare(out, want, dtype)
    inputs = [x, *layer.parameters()]
    for got, wanted in zip(gradients(out, inputs), gradients(want, inputs), strict=True):
        torch.testing.assert_close(
            got.float(), wanted.float(), rtol=5 * TOLERANCE[dtype]["rtol"], atol=5 * TOLERANCE[dtype]["atol"]
        )


@pytest.mark.parametrize("name", ["LayerNorm", "RMSNorm"])
def test_norms(te, name):
    layer = getattr(te, name)(12, eps=1e-3, sequence_parallel=True, params_dtype=torch.float32, device=DEVICE)
    x = torch.randn(4, 12, device=DEVICE)
    want = F.layer_norm(x, (12,), eps=1e-3) if name == "LayerNorm" else F.rms_norm(x, (12,), eps=1e-3)
    compare(layer(x), want, torch.float32)
    assert all(p.sequence_parallel for p in layer.parameters())
    assert set(layer.state_dict()) == set(dict(layer.named_parameters()))


@pytest.mark.parametrize("splits", [[3, 0, 5], [0, 0, 0]])
def test_grouped_linear(te, splits):
    layer = te.GroupedLinear(3, 8, 6, params_dtype=torch.float32, device=DEVICE)
    x = torch.randn(sum(splits), 8, device=DEVICE, requires_grad=True)
    want = torch.cat(
        [
            F.linear(part, getattr(layer, f"weight{i}"), getattr(layer, f"bias{i}"))
            for i, part in enumerate(x.split(splits))
        ]
    )
    out = layer(x, splits)
    compare(out, want, torch.float32)
    inputs = [x, *layer.parameters()]
    for got, wanted in zip(gradients(out, inputs), gradients(want, inputs), strict=True):
        compare(got, wanted, torch.float32)


def test_a_fused_weight_gradient_is_added_in_float32(te):
    layer = te.Linear(
        8, 8, bias=False, fuse_wgrad_accumulation=True, params_dtype=torch.bfloat16, device=DEVICE
    )
    x = torch.randn(64, 8, device=DEVICE, dtype=torch.bfloat16)
    with pytest.raises(RuntimeError, match=r"main_grad.*--no-gradient-accumulation-fusion"):
        layer(x).sum().backward()
    layer.weight.main_grad = torch.full((8, 8), 1000.0, device=DEVICE)
    layer.weight.grad_added_to_main_grad = False
    layer(x).sum().backward()
    want = torch.ones(8, 64, device=DEVICE) @ x.float()
    torch.testing.assert_close(layer.weight.main_grad - 1000, want, rtol=0, atol=1e-3)  # bf16 would keep 4
    assert layer.weight.grad_added_to_main_grad and layer.weight.grad is not None


def test_a_dummy_gradient_is_shared_and_zero_when_asked(te):
    make = te.module.base.get_dummy_wgrad
    dummy = make([2, 3], torch.bfloat16)
    assert dummy.shape == (2, 3) and dummy.dtype is torch.bfloat16 and not dummy.requires_grad
    dummy.fill_(5)
    again = make([2, 3], torch.bfloat16, zero=True)
    assert again.data_ptr() == dummy.data_ptr() and again.eq(0).all()


@pytest.mark.parametrize("fused", [False, True])
def test_a_delayed_weight_gradient_comes_when_it_is_asked_for(te, fused):
    layer = te.Linear(4, 4, bias=False, delay_wgrad_compute=True, fuse_wgrad_accumulation=fused,
                      params_dtype=torch.float32, device=DEVICE)  # fmt: skip
    layer.weight.main_grad = torch.zeros(4, 4, device=DEVICE)
    x = torch.randn(3, 4, device=DEVICE)
    called = []
    layer.register_wgrad_accumulation_and_reduce_hooks(lambda: called.append(1))
    layer(x).sum().backward()
    assert layer.weight.grad is None and layer.weight.main_grad.eq(0).all() and not called
    layer.backward_dw()
    compare(layer.weight.main_grad if fused else layer.weight.grad, torch.ones(4, 3) @ x.cpu(), torch.float32)
    assert called == [1]


def test_a_layer_on_meta_gets_its_values_late(te):
    layer = te.LayerNormLinear(4, 4, params_dtype=torch.float32, device="meta")
    assert layer.weight.is_meta
    layer.reset_parameters()
    assert not layer.weight.is_meta and layer.layer_norm_weight.eq(1).all() and layer.bias.eq(0).all()


def test_extra_state_is_empty_and_another_is_announced(te):
    layer = te.Linear(2, 2, params_dtype=torch.float32, device=DEVICE)
    state = layer.state_dict()
    assert state["_extra_state"].numel() == 0
    layer.load_state_dict(state)
    layer.load_state_dict({**state, "_extra_state": None})
    with pytest.warns(UserWarning, match="fp8 scales are left out"):
        layer.load_state_dict({**state, "_extra_state": torch.ones(3, dtype=torch.uint8)})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ub_overlap_ag": True}, r"Linear\(ub_overlap_ag=True\) is not in MindSpeed's stand-in"),
        ({"parallel_mode": "rows"}, "parallel_mode='rows': wanted one of"),
        ({"tp_size": 3, "parallel_mode": "row"}, "4 is not divisible by 3"),
        ({"unknown": 1}, "unexpected keyword argument 'unknown'"),
    ],
)
def test_options_that_are_refused(te, options, message):
    with pytest.raises((NotImplementedError, ValueError, TypeError), match=message):
        te.Linear(4, 4, device=DEVICE, **options)


@pytest.mark.parametrize("name", ["LayerNorm", "RMSNorm"])
def test_norms_give_what_the_next_layer_wants(te, name):
    """Residuals may be float32 where parameters are bfloat16 (--fp32-residual-connection)."""
    norm = getattr(te, name)(16, params_dtype=torch.bfloat16, device=DEVICE)
    x = torch.randn(5, 16, device=DEVICE, requires_grad=True)
    out = norm(x)
    function = (
        F.layer_norm(x, (16,), eps=norm.eps) if name == "LayerNorm" else F.rms_norm(x, (16,), eps=norm.eps)
    )
    assert out.dtype is torch.bfloat16
    torch.testing.assert_close(out, function.bfloat16(), rtol=2**-8, atol=0)
    (grad,) = torch.autograd.grad(out.float().square().sum(), x)
    assert grad.dtype is torch.float32 and grad.isfinite().all()
    with torch.autocast("npu", torch.float16):
        assert norm(x).dtype is torch.float16


def test_types_must_agree_outside_autocast(te):
    layer = te.Linear(4, 4, params_dtype=torch.bfloat16, device=DEVICE)
    x = torch.randn(2, 4, device=DEVICE)
    with pytest.raises(TypeError, match=r"input is torch\.float32, parameters are torch\.bfloat16"):
        layer(x)
    with torch.autocast("npu", torch.bfloat16):
        assert layer(x).dtype is torch.bfloat16


def test_padding_and_back(te):
    x = torch.randn(9, 3, device=DEVICE)
    padded, sizes = te.Fp8Padding(3, 4)(x, [4, 0, 5])
    assert sizes == [4, 0, 8] and padded.shape == (12, 3) and padded[9:].eq(0).all()
    assert torch.equal(te.Fp8Unpadding(3, 4)(padded, [4, 0, 5]), x)


def test_losses_of_one_sequence_may_be_changed_in_place() -> None:
    from mindspeed.standins.transformer_engine.pytorch.cross_entropy import parallel_cross_entropy

    logits = torch.randn(6, 1, 16, device="npu", requires_grad=True)
    target = torch.randint(0, 16, (6, 1), device="npu")
    loss = parallel_cross_entropy(logits, target).transpose(0, 1).contiguous()
    loss *= 2
    loss.sum().backward()
    reference = logits.detach().cpu().requires_grad_()
    (2 * torch.nn.functional.cross_entropy(reference[:, 0], target[:, 0].cpu(), reduction="sum")).backward()
    torch.testing.assert_close(logits.grad.cpu(), reference.grad, rtol=1e-5, atol=1e-6)


def test_how_parameters_get_their_values(te):
    """As Megatron's FSDP asks of layers on the meta device."""
    made = te.LayerNormLinear(8, 4, init_method=torch.nn.init.ones_, device="meta").param_init_meta
    assert {name: meta.fp8_meta_index for name, meta in made.items()} == {
        "layer_norm_weight": None, "layer_norm_bias": None, "weight": 1, "bias": None,
    }  # fmt: skip
    values = torch.zeros(4, 8)
    made["weight"].init_fn(values)
    assert torch.equal(values, torch.ones(4, 8))
    grouped = te.GroupedLinear(2, 8, 4, bias=False, device="meta").param_init_meta
    assert [meta.fp8_meta_index for meta in grouped.values()] == [1, 4]
