# SPDX-License-Identifier: Apache-2.0
"""Fused functions against Megatron's own, forward and backward, in float32 and bfloat16."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

# Relative to the largest element: float32 sums in another order; bfloat16 is rounded once instead of per operator.
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 2e-2}
DTYPES = pytest.mark.parametrize("dtype", TOLERANCE, ids=("fp32", "bf16"))
FUSIONS = "megatron.core.fusions"


def near(ours: Tensor, theirs: Tensor, dtype: torch.dtype) -> None:
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    difference = (ours.float() - theirs.float()).abs().max().item()
    assert difference <= TOLERANCE[dtype] * max(theirs.float().abs().max().item(), 1e-3), difference


def run(function: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    """The result and the gradients of those inputs that are floating point."""
    leaves = [t.detach().clone().requires_grad_(t.is_floating_point()) for t in inputs]
    # Not a leaf, as in a model: Megatron's cross entropy writes into its input.
    result = function(*(t * 1 if t.requires_grad else t for t in leaves))
    torch.manual_seed(9)
    result.backward(torch.randn(result.shape).to(result))
    return [result.detach(), *(t.grad for t in leaves if t.grad is not None)]


def compare(switch: Any, flag: str, function: Callable[..., Tensor], inputs: list[Tensor]) -> None:
    dtype = inputs[0].dtype
    switch()
    theirs = run(function, inputs)
    switch(**{flag: True})
    ours = run(function, inputs)
    assert len(ours) == len(theirs)
    for our, their in zip(ours, theirs, strict=True):
        near(our, their, dtype)


def normal(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape).to(device="npu:0", dtype=dtype)


def call(module: str, name: str, *more: Any) -> Callable[..., Tensor]:
    """Looked up at each call, as Megatron's modules do."""
    return lambda *tensors: getattr(importlib.import_module(module), name)(*tensors, *more)


@DTYPES
def test_swiglu(switch: Any, dtype: torch.dtype) -> None:
    inputs = [normal(6, 2, 32, dtype=dtype)]
    compare(
        switch, "use_fused_swiglu", call(f"{FUSIONS}.fused_bias_swiglu", "bias_swiglu_impl", None), inputs
    )


@DTYPES
def test_swiglu_with_bias(switch: Any, dtype: torch.dtype) -> None:
    inputs = [normal(6, 32, dtype=dtype), normal(32, dtype=dtype)]
    compare(switch, "use_fused_swiglu", call(f"{FUSIONS}.fused_bias_swiglu", "bias_swiglu_impl"), inputs)


@DTYPES
def test_swiglu_with_weights_of_tokens(switch: Any, dtype: torch.dtype) -> None:
    inputs = [normal(6, 32, dtype=dtype), normal(6, 1)]  # weights of a router are float32

    def weighted(x: Tensor, weights: Tensor) -> Tensor:
        module = importlib.import_module(f"{FUSIONS}.fused_bias_swiglu")
        return module.weighted_bias_swiglu_impl(x, None, weights)

    compare(switch, "use_fused_swiglu", weighted, inputs)


@DTYPES
def test_gelu_with_bias(switch: Any, dtype: torch.dtype) -> None:
    inputs = [normal(6, 2, 32, dtype=dtype), normal(32, dtype=dtype)]
    compare(switch, "use_fused_gelu", call(f"{FUSIONS}.fused_bias_gelu", "bias_gelu_impl"), inputs)


@DTYPES
@pytest.mark.parametrize("with_bias", [False, True])
def test_geglu(switch: Any, dtype: torch.dtype, with_bias: bool) -> None:
    inputs = [normal(6, 2, 32, dtype=dtype), normal(32, dtype=dtype)][: 1 + with_bias]
    more = () if with_bias else (None,)
    compare(switch, "use_fused_gelu", call(f"{FUSIONS}.fused_bias_geglu", "bias_geglu_impl", *more), inputs)


@DTYPES
@pytest.mark.parametrize("kind", ["RMSNorm", "L2Norm"])
def test_norms(switch: Any, dtype: torch.dtype, kind: str) -> None:
    def norm(x: Tensor, *weight: Tensor) -> Tensor:
        from megatron.core.transformer import torch_norm
        from megatron_gpt import Size, config_of

        if kind == "L2Norm":
            return torch_norm.L2Norm(32, eps=1e-5)(x)
        built = torch_norm.WrappedTorchNorm(config_of(Size(llama=True)), 32, eps=1e-5).to(x.device)
        assert isinstance(built, torch.nn.RMSNorm)
        built.weight.data = built.weight.data.to(x.dtype)
        return built(x) * weight[0]

    compare(switch, "use_fused_rmsnorm", norm, [normal(6, 2, 32, dtype=dtype), normal(32, dtype=dtype)][: 1 + (kind == "RMSNorm")])  # fmt: skip


ROTARY = "megatron.core.models.common.embeddings.rope_utils"


@DTYPES
@pytest.mark.parametrize("pairs", [False, True], ids=["halves", "pairs"])
@pytest.mark.parametrize(("head", "rotated"), [(16, 16), (16, 8)], ids=["whole", "part"])
@pytest.mark.parametrize("mla", [False, True], ids=["", "mla"])
@pytest.mark.parametrize("batches", [1, 2], ids=["", "mrope"])
def test_rotary(
    switch: Any, dtype: torch.dtype, pairs: bool, head: int, rotated: int, mla: bool, batches: int
) -> None:
    angles = normal(6, batches, 1, rotated)
    function = call(ROTARY, "_apply_rotary_pos_emb_bshd", angles, pairs, mla, 1.25)
    compare(switch, "use_fused_rotary_pos_emb", function, [normal(6, 2, 3, head, dtype=dtype)])


@DTYPES
def test_rotary_of_heads_that_have_no_halves(switch: Any, dtype: torch.dtype) -> None:
    function = call(ROTARY, "_apply_rotary_pos_emb_bshd", normal(6, 1, 1, 3), False, False, 1.0)
    compare(switch, "use_fused_rotary_pos_emb", function, [normal(6, 2, 4, 3, dtype=dtype)])


@DTYPES
def test_rotary_of_packed_sequences(switch: Any, dtype: torch.dtype) -> None:
    """Positions begin anew in each sequence, also in the form that apply_rope_fusion asks for."""
    lengths = torch.tensor([0, 4, 5, 11], dtype=torch.int32, device="npu:0")
    angles = normal(8, 1, 1, 16)

    def apply(fusion: bool) -> Callable[[Tensor], Tensor]:
        config = SimpleNamespace(
            apply_rope_fusion=fusion,
            rotary_interleaved=False,
            multi_latent_attention=False,
            mrope_section=None,
        )
        return call(ROTARY, "apply_rotary_pos_emb", angles, config, lengths)

    inputs = [normal(11, 3, 16, dtype=dtype)]
    compare(switch, "use_fused_rotary_pos_emb", apply(False), inputs)
    for plain, fused in zip(run(apply(False), inputs), run(apply(True), inputs), strict=True):
        near(fused, plain, dtype)


def test_tables_of_angles_follow_the_angles(switch: Any) -> None:
    from mindspeed.features.fusion.rotary_embedding import cosines_and_sines

    angles = normal(6, 1, 1, 16)
    first = cosines_and_sines(angles, torch.float32, 1.0)
    assert cosines_and_sines(angles, torch.float32, 1.0)[0] is first[0]
    angles.mul_(2)
    torch.testing.assert_close(cosines_and_sines(angles, torch.float32, 1.0)[0], angles.cos())


@DTYPES
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy(
    switch: Any, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, smoothing: float
) -> None:
    from mindspeed.features.fusion import cross_entropy

    monkeypatch.setattr(cross_entropy, "_BLOCK", 70)  # three rows, and a last block of one
    target = torch.randint(0, 20, (5, 2), device="npu:0")
    function = call(
        "megatron.core.tensor_parallel.cross_entropy", "vocab_parallel_cross_entropy", target, smoothing
    )
    compare(switch, "use_fused_cross_entropy", function, [3 * normal(5, 2, 20, dtype=dtype)])


@DTYPES
def test_cross_entropy_of_megatrons_fusion(switch: Any, dtype: torch.dtype) -> None:
    from megatron.core import parallel_state

    target = torch.randint(0, 20, (5, 2), device="npu:0")
    group = parallel_state.get_tensor_model_parallel_group()
    function = call(f"{FUSIONS}.fused_cross_entropy", "fused_vocab_parallel_cross_entropy", target, group)
    inputs = [3 * normal(5, 2, 20, dtype=dtype)]
    switch()
    theirs = run(function, inputs)
    switch(use_fused_cross_entropy=True)
    ours = run(function, inputs)
    near(ours[0], theirs[0], torch.float32)
    near(ours[1], theirs[1], torch.bfloat16)  # Megatron rounds this gradient to bfloat16


def test_losses_of_one_sequence_may_be_changed_in_place(switch: Any) -> None:
    """Megatron's schedules multiply what a model returns; of one sequence that is the function's own result, transposed."""
    target = torch.randint(0, 20, (5, 1), device="npu:0")
    function = call("megatron.core.tensor_parallel.cross_entropy", "vocab_parallel_cross_entropy", target)

    def doubled(logits: torch.Tensor) -> torch.Tensor:
        loss = function(logits).transpose(0, 1).contiguous()
        loss *= 2
        return loss

    compare(switch, "use_fused_cross_entropy", doubled, [normal(5, 1, 20, dtype=torch.float32)])


def test_logits_in_half_precision_are_not_touched(switch: Any) -> None:
    switch(use_fused_cross_entropy=True)
    logits = normal(5, 2, 20, dtype=torch.bfloat16).requires_grad_()
    before = logits.detach().clone()
    target = torch.randint(0, 20, (5, 2), device="npu:0")
    call("megatron.core.tensor_parallel.cross_entropy", "vocab_parallel_cross_entropy")(
        logits, target
    ).sum().backward()
    torch.testing.assert_close(logits.detach(), before, rtol=0, atol=0)


def test_the_cpu_takes_megatrons_way(switch: Any) -> None:
    x = torch.randn(4, 32, requires_grad=True)
    function = call(f"{FUSIONS}.fused_bias_swiglu", "bias_swiglu_impl", None)
    expected = function(x)
    switch(use_fused_swiglu=True)
    torch.testing.assert_close(function(x), expected)
