# SPDX-License-Identifier: Apache-2.0
"""A Qwen3 mixture of experts of transformers on four ranks, by a plan only:

torchrun --nproc-per-node 4 train.py [STEPS]
"""

import sys

import torch
from mindspeed.fsdp.mindspeed_parallel_engine import MindSpeedParallelEngine
from mindspeed.fsdp.parallel_engine_config import EPPlanConfig, FSDPPlanConfig, ParallelEngineConfig
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

PLAN = ParallelEngineConfig(
    fully_shard_parallel_size=4,
    fsdp_plan=FSDPPlanConfig(apply_modules={"model.layers.{*}": {}}, num_to_forward_prefetch=1),
    expert_parallel_size=2,
    expert_fully_shard_parallel_size=2,
    ep_plan=EPPlanConfig(apply_modules=["*.mlp.experts"], dispatcher="fused"),
    recompute=True,
    recompute_plan=["model.layers.{*}"],
)
CONFIG = Qwen3MoeConfig(
    vocab_size=256,
    hidden_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
    moe_intermediate_size=32,
    num_experts=8,
    num_experts_per_tok=2,
)

torch.manual_seed(1)  # ranks begin with the same weights
engine = MindSpeedParallelEngine(PLAN, Qwen3MoeForCausalLM(CONFIG))
ranks = engine.parallel_state
optimizer = torch.optim.AdamW(engine.parameters(), lr=2e-3, foreach=False)
for step in range(int(sys.argv[1]) if len(sys.argv) > 1 else 20):
    torch.manual_seed(step)
    text = (torch.randint(256, (8, 1)) + torch.arange(64)) % 256  # rows that count on
    own = text[ranks.batch :: ranks.batches].to("npu")
    loss = engine(**engine.split_sequence(own, labels=own)).loss
    loss.backward()
    norm = engine.clip_grad_norm_(1.0)
    optimizer.step()
    optimizer.zero_grad()
    torch.distributed.all_reduce(loss.detach())
    if ranks.global_rank == 0:
        print(
            f"step {step}: loss {loss.item() / ranks.world_size:.4f}, norm of the gradient {norm.item():.4f}"
        )
torch.distributed.destroy_process_group()
