# SPDX-License-Identifier: Apache-2.0
"""The peak of memory by formulas (mindspeed.planning.estimate) against two steps of small models on one virtual NPU.

bench/plan_memory.py compares whole command lines: Transformer Engine's layers, several ranks, features of level 2.
"""

from __future__ import annotations

import gc
from argparse import Namespace

import megatron_gpt
import pytest
import torch
from mindspeed.planning import estimate

BF16 = torch.bfloat16
SHORT = {"layers": 3, "hidden": 128, "sequence": 128, "vocab": 1024}
LONG = {"layers": 2, "hidden": 64, "sequence": 384, "vocab": 256, "batch": 1}
FUSED = {"fused-rmsnorm": "use_fused_rmsnorm", "fused-swiglu": "use_fused_swiglu", "fused-gelu": "use_fused_gelu",
         "flash-attention": "use_flash_attn", "fused-rope": "use_fused_rotary_pos_emb",
         "vocab-parallel-cross-entropy": "use_fused_cross_entropy"}  # fmt: skip
CASES = {
    "written out": (megatron_gpt.Size(**SHORT), ()),
    "scores": (megatron_gpt.Size(**LONG, dtype=BF16), ()),
    "fused": (megatron_gpt.Size(**SHORT, dtype=BF16), FUSED),
    "llama, fused": (megatron_gpt.Size(**SHORT, llama=True), FUSED),
}


def arguments(size: megatron_gpt.Size) -> Namespace:
    """What megatron_gpt builds, as Megatron's command line would say it."""
    return Namespace(
        num_layers=size.layers, hidden_size=size.hidden, num_attention_heads=size.heads, seq_length=size.sequence,
        padded_vocab_size=size.vocab, micro_batch_size=size.batch, transformer_impl="local",
        position_embedding_type="rope", apply_rope_fusion=False, untie_embeddings_and_output_weights=True,
        hidden_dropout=0.0, attention_dropout=0.0, create_attention_mask_in_dataloader=False,
        gradient_accumulation_fusion=False, accumulate_allreduce_grads_in_fp32=True, bf16=size.dtype is BF16,
        normalization="RMSNorm" if size.llama else "LayerNorm", swiglu=size.llama, add_bias_linear=not size.llama,
        attention_softmax_in_fp32=True, group_query_attention=size.llama, num_query_groups=size.heads // 2,
    )  # fmt: skip


def forget_shared_buffers() -> None:
    """Those that tests before may have left."""
    from megatron.core import parallel_state
    from mindspeed.features.fusion import flash_attention

    flash_attention.triangle.cache_clear()
    if parallel_state._GLOBAL_MEMORY_BUFFER is not None:
        parallel_state.destroy_global_memory_buffer()
    parallel_state._set_global_memory_buffer()
    gc.collect()


def asked(moment: str) -> int:
    """Bytes; the allocator's blocks may be larger, which depends on what was there before."""
    return int(torch.npu.memory_stats().get(f"requested_bytes.all.{moment}", 0))


@pytest.mark.parametrize("name", CASES)
def test_the_peak_is_what_two_steps_take(name, switch):
    size, features = CASES[name]
    switch(**{FUSED[feature]: True for feature in features})
    forget_shared_buffers()
    before = asked("current")
    model, optimizer = megatron_gpt.trainer(megatron_gpt.build(size), size)
    torch.npu.reset_peak_memory_stats()
    for text in megatron_gpt.batches(size, 2):
        megatron_gpt.train_step(model, optimizer, text)
    took = asked("peak") - before
    (stage,) = estimate.estimate(arguments(size), features).stages
    assert stage.peak == pytest.approx(took, rel=0.05), stage
