# SPDX-License-Identifier: Apache-2.0
"""The GPT of megatron-core, its optimizer and its learning rate, from the job's options."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from typing import Any

import torch
from layout import Layout, layout_of
from megatron.core import parallel_state, tensor_parallel
from megatron.core.distributed import (
    DistributedDataParallel,
    DistributedDataParallelConfig,
    finalize_model_grads,
)
from megatron.core.enums import ModelType
from megatron.core.models.gpt import GPTModel
from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
from megatron.core.optimizer import MegatronOptimizer, OptimizerConfig, get_megatron_optimizer
from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler
from megatron.core.transformer.module import Float16Module
from megatron.core.transformer.transformer_config import TransformerConfig
from vocabulary import PADDED_VOCAB_SIZE

TORCH_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True, kw_only=True)
class Job:
    """Everything that changes during training. `chunks` are the pieces of the model that this rank holds."""

    layout: Layout
    chunks: list[DistributedDataParallel]
    optimizer: MegatronOptimizer
    scheduler: OptimizerParamScheduler
    config: TransformerConfig

    def bare(self) -> list[torch.nn.Module]:
        """The chunks without the data-parallel wrapper, whose name must not get into checkpoints."""
        return [chunk.module for chunk in self.chunks]


def initialize(seed: int, layout: Layout) -> torch.device:
    """This process as a rank: device, process group, Megatron's parallel state, random numbers."""
    device = torch.device("npu", int(os.environ.get("LOCAL_RANK", "0")))
    torch.npu.set_device(device)
    if layout.npus == 1:
        alone = torch.distributed.HashStore()
        torch.distributed.init_process_group("hccl", store=alone, rank=0, world_size=1)
    else:
        torch.distributed.init_process_group("hccl")
    parallel_state.initialize_model_parallel(
        tensor_model_parallel_size=layout.tp,
        pipeline_model_parallel_size=layout.pp,
        virtual_pipeline_model_parallel_size=layout.vp if layout.vp > 1 else None,
        context_parallel_size=layout.cp,
        expert_model_parallel_size=layout.ep,
        create_gloo_process_groups=False,
    )
    torch.manual_seed(seed)
    tensor_parallel.model_parallel_cuda_manual_seed(seed)
    return device


def _experts(options: argparse.Namespace, layout: Layout) -> dict[str, Any]:
    if options.experts == 0:
        return {}
    return {
        "num_moe_experts": options.experts,
        "moe_router_topk": options.topk,
        "moe_token_dispatcher_type": "alltoall",
        # Megatron 0.12.1 divides the gradient of this loss by the context-parallel size.
        "moe_aux_loss_coeff": 1e-2 * layout.cp,
        "expert_model_parallel_size": layout.ep,
        "expert_tensor_parallel_size": layout.tp,
        "add_bias_linear": False,
    }


def transformer_config(options: argparse.Namespace, layout: Layout) -> TransformerConfig:
    return TransformerConfig(
        num_layers=options.layers,
        hidden_size=options.hidden,
        num_attention_heads=options.heads,
        hidden_dropout=options.dropout,
        attention_dropout=options.dropout,
        params_dtype=TORCH_DTYPES[options.dtype],
        pipeline_dtype=TORCH_DTYPES[options.dtype],
        bf16=options.dtype == "bf16",
        fp16=options.dtype == "fp16",
        attention_softmax_in_fp32=True,
        tensor_model_parallel_size=layout.tp,
        sequence_parallel=layout.sp,
        pipeline_model_parallel_size=layout.pp,
        virtual_pipeline_model_parallel_size=layout.vp if layout.vp > 1 else None,
        # An interleaved pipeline of two stages has one neighbour for two directions: messages must not be batched.
        overlap_p2p_comm=layout.vp > 1,
        batch_p2p_comm=layout.vp == 1,
        context_parallel_size=layout.cp,
        **_experts(options, layout),
    )


def build_gpt(options: argparse.Namespace, config: TransformerConfig) -> torch.nn.Module:
    """One bare chunk of the model on the current device, in the dtype of the options."""
    gpt = GPTModel(
        config=config,
        transformer_layer_spec=get_gpt_layer_local_spec(num_experts=config.num_moe_experts),
        vocab_size=PADDED_VOCAB_SIZE,
        max_sequence_length=options.seq,
        pre_process=parallel_state.is_pipeline_first_stage(),
        post_process=parallel_state.is_pipeline_last_stage(),
        position_embedding_type="rope",
    )
    gpt.model_type = ModelType.encoder_or_decoder
    gpt = gpt.to(torch.device("npu", torch.npu.current_device()))
    return gpt if options.dtype == "fp32" else Float16Module(config, gpt)


def _chunks(
    options: argparse.Namespace, config: TransformerConfig, layout: Layout
) -> list[DistributedDataParallel]:
    ddp_config = DistributedDataParallelConfig(
        use_distributed_optimizer=True,
        grad_reduce_in_fp32=True,
        overlap_grad_reduce=options.overlap,
        overlap_param_gather=options.overlap,
    )
    chunks = []
    for index in range(layout.vp):
        if layout.vp > 1:
            parallel_state.set_virtual_pipeline_model_parallel_rank(index)
        gpt = build_gpt(options, config)
        chunks.append(DistributedDataParallel(config, ddp_config, gpt, disable_bucketing=index > 0))
    for chunk in chunks:
        chunk.broadcast_params()  # replicas start alike
    return chunks


def _optimizer(options: argparse.Namespace, chunks: list[DistributedDataParallel]) -> MegatronOptimizer:
    config = OptimizerConfig(
        optimizer="adam",
        lr=options.lr,
        min_lr=options.lr / 10,
        weight_decay=options.weight_decay,
        adam_beta2=0.95,
        clip_grad=options.clip_grad,
        bf16=options.dtype == "bf16",
        fp16=options.dtype == "fp16",
        params_dtype=TORCH_DTYPES[options.dtype],
        initial_loss_scale=2.0**16,
        use_distributed_optimizer=True,
    )
    return get_megatron_optimizer(config, chunks, use_gloo_process_groups=False)


def _scheduler(options: argparse.Namespace, optimizer: MegatronOptimizer) -> OptimizerParamScheduler:
    return OptimizerParamScheduler(
        optimizer,
        init_lr=0.0,
        max_lr=options.lr,
        min_lr=options.lr / 10,
        lr_warmup_steps=min(options.warmup, options.iters - 1),
        lr_decay_steps=options.iters,
        lr_decay_style="cosine",
        start_wd=options.weight_decay,
        end_wd=options.weight_decay,
        wd_incr_steps=options.iters,
        wd_incr_style="constant",
        # The schedule follows this run's options (a longer --iters stretches it), not the checkpoint's.
        use_checkpoint_opt_param_scheduler=False,
        override_opt_param_scheduler=True,
    )


def _alone(functions: list[Any]) -> Any:
    """The schedules take a list for several chunks, and a function for one."""
    return functions[0] if len(functions) == 1 else functions


def build(options: argparse.Namespace) -> Job:
    layout = layout_of(options)
    config = transformer_config(options, layout)
    chunks = _chunks(options, config, layout)
    optimizer = _optimizer(options, chunks)
    config.grad_scale_func = optimizer.scale_loss
    config.finalize_model_grads_func = finalize_model_grads
    config.no_sync_func = _alone([chunk.no_sync for chunk in chunks])
    if options.overlap:
        config.grad_sync_func = _alone([chunk.start_grad_sync for chunk in chunks])
        config.param_sync_func = _alone([chunk.start_param_sync for chunk in chunks])
    scheduler = _scheduler(options, optimizer)
    return Job(layout=layout, chunks=chunks, optimizer=optimizer, scheduler=scheduler, config=config)


def count_parameters(job: Job) -> int:
    """Of the whole model: what this rank holds once, summed over the ranks that hold other parts."""
    mine = 0
    for parameter in (p for chunk in job.chunks for p in chunk.parameters()):
        is_expert = not getattr(parameter, "allreduce", True)
        is_cut = is_expert or getattr(parameter, "tensor_model_parallel", False)
        if is_cut or parallel_state.get_tensor_model_parallel_rank() == 0:
            mine += parameter.numel() * (job.layout.ep if is_expert else 1)
    total = torch.tensor(mine, device="npu")
    torch.distributed.all_reduce(total, group=parallel_state.get_model_parallel_group())
    return int(total)
