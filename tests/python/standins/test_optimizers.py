# SPDX-License-Identifier: Apache-2.0
"""Optimizers and operations on lists of tensors, against PyTorch's own."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

DEVICE = "npu"


@pytest.fixture
def optimizers(standins):
    import transformer_engine.pytorch.optimizers

    torch.manual_seed(4)
    return transformer_engine.pytorch.optimizers


def test_apex_has_the_same(optimizers):
    import amp_C
    from apex.multi_tensor_apply import multi_tensor_applier
    from apex.optimizers import FusedAdam, FusedSGD

    assert FusedAdam is optimizers.FusedAdam and FusedSGD is optimizers.FusedSGD
    assert amp_C.multi_tensor_scale is optimizers.multi_tensor_scale
    assert multi_tensor_applier is optimizers.multi_tensor_applier and multi_tensor_applier.available


@pytest.mark.parametrize("adam_w_mode", [True, False])
def test_adam(optimizers, adam_w_mode):
    start = torch.randn(7)
    own = torch.nn.Parameter(start.to(DEVICE))
    other = torch.nn.Parameter(start.clone())
    options = {"lr": 0.1, "weight_decay": 0.05, "betas": (0.8, 0.9)}
    adam = optimizers.FusedAdam([own], adam_w_mode=adam_w_mode, **options)
    plain = (torch.optim.AdamW if adam_w_mode else torch.optim.Adam)([other], **options)
    for step in range(4):
        other.grad = torch.randn(7, generator=torch.Generator().manual_seed(step))
        own.grad = other.grad.to(DEVICE)
        adam.step()
        plain.step()
    torch.testing.assert_close(own.detach().cpu(), other.detach(), rtol=1e-5, atol=1e-6)
    assert set(adam.state[own]) == {"exp_avg", "exp_avg_sq"} and adam.param_groups[0]["step"] == 4


def test_adam_with_a_master_copy_learns_what_bfloat16_cannot_hold(optimizers):
    own = torch.nn.Parameter(torch.ones(3, device=DEVICE, dtype=torch.bfloat16))
    adam = optimizers.FusedAdam(
        [own], lr=1e-3, master_weights=True, use_decoupled_grad=True, exp_avg_dtype=torch.bfloat16
    )
    for _ in range(3):
        own.decoupled_grad = torch.ones(3, device=DEVICE)
        adam.step()
    state = adam.state[own]
    torch.testing.assert_close(state["master_param"].cpu(), torch.full((3,), 0.997), rtol=0, atol=1e-5)
    assert state["exp_avg"].dtype is torch.bfloat16 and own.eq(state["master_param"].bfloat16()).all()
    assert adam.get_unscaled_state(own, "exp_avg").dtype is torch.float32
    adam.set_scaled_state(own, "exp_avg_sq", torch.full((3,), 2.0, device=DEVICE))
    assert state["exp_avg_sq"].eq(2).all()
    adam.zero_grad()
    assert own.decoupled_grad is None


def test_what_adam_refuses(optimizers):
    parameter = torch.nn.Parameter(torch.ones(1))
    with pytest.raises(NotImplementedError, match="amsgrad"):
        optimizers.FusedAdam([parameter], amsgrad=True)
    with pytest.raises(NotImplementedError, match=r"exp_avg_dtype=torch\.uint8"):
        optimizers.FusedAdam([parameter], exp_avg_dtype=torch.uint8)


def test_lists(optimizers):
    apply = optimizers.multi_tensor_applier
    tensors = [torch.randn(4, device=DEVICE), torch.randn(2, 3, device=DEVICE), torch.empty(0, device=DEVICE)]
    flag = torch.zeros(1, dtype=torch.int32, device=DEVICE)
    norm, each = apply(optimizers.multi_tensor_l2norm, flag, [tensors], True)
    torch.testing.assert_close(norm.cpu(), torch.cat([t.cpu().flatten() for t in tensors]).norm().view(1))
    torch.testing.assert_close(each.cpu(), torch.stack([t.cpu().norm() for t in tensors]))
    out = [torch.empty_like(t, dtype=torch.bfloat16) for t in tensors]
    apply(optimizers.multi_tensor_scale, flag, [tensors, out], 0.5)
    for got, source in zip(out, tensors, strict=True):
        torch.testing.assert_close(got.float().cpu(), source.cpu() * 0.5, rtol=1e-2, atol=1e-2)
    assert flag.item() == 0
    tensors[1][0, 1] = float("nan")
    apply(optimizers.multi_tensor_scale, flag, [tensors, tensors], 2.0)
    assert flag.item() == 1


def test_a_rank_scales_its_part_of_tensors_that_ranks_share(optimizers):
    parts = [torch.randn(5, device=DEVICE), torch.empty(0, device=DEVICE)]
    results = [torch.zeros(5, device=DEVICE, dtype=torch.float16), torch.empty(0, device=DEVICE)]
    shared = [[SimpleNamespace(_local_tensor=part) for part in some] for some in (parts, results)]
    flag = torch.zeros(1, dtype=torch.int32, device=DEVICE)
    optimizers.multi_tensor_applier(optimizers.multi_tensor_scale, flag, shared, 2.0)
    assert torch.equal(results[0].cpu(), (parts[0] * 2).half().cpu()) and flag.item() == 0


def test_weight_gradient_extension(standins):
    import fused_weight_gradient_mlp_cuda as extension

    x, grad = torch.randn(3, 4, 5, device=DEVICE), torch.randn(3, 4, 2, device=DEVICE)
    total = torch.ones(2, 5, device=DEVICE)
    extension.wgrad_gemm_accum_fp32(x.bfloat16(), grad.bfloat16(), total)
    want = 1 + torch.einsum("abo,abi->oi", grad.bfloat16().float().cpu(), x.bfloat16().float().cpu())
    torch.testing.assert_close(total.cpu(), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["FusedLayerNorm", "MixedFusedLayerNorm", "FusedRMSNorm"])
def test_apex_norms(standins, name):
    import apex.normalization

    norm = getattr(apex.normalization, name)(6).to(DEVICE)
    x = torch.randn(3, 6, device=DEVICE)
    plain = torch.nn.functional.rms_norm if "RMS" in name else torch.nn.functional.layer_norm
    torch.testing.assert_close(norm(x).cpu(), plain(x.cpu(), (6,), eps=1e-5), rtol=1e-5, atol=1e-5)
