# SPDX-License-Identifier: Apache-2.0
"""The GPT of megatron-core, its optimizer and its learning rate, from the job's options."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import torch
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
from tokenizer import PADDED_VOCAB_SIZE

TORCH_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True, kw_only=True)
class Job:
    """Everything that changes during training."""

    model: DistributedDataParallel
    optimizer: MegatronOptimizer
    scheduler: OptimizerParamScheduler
    config: TransformerConfig


def initialize(seed: int) -> torch.device:
    """One rank on NPU 0: process group, Megatron's parallel state, random numbers."""
    device = torch.device("npu:0")
    torch.npu.set_device(device)
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group(
            "hccl", store=torch.distributed.HashStore(), rank=0, world_size=1
        )
        parallel_state.initialize_model_parallel(create_gloo_process_groups=False)
    torch.manual_seed(seed)
    tensor_parallel.model_parallel_cuda_manual_seed(seed)
    return device


def transformer_config(options: argparse.Namespace) -> TransformerConfig:
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
    )


def build_gpt(options: argparse.Namespace, config: TransformerConfig) -> torch.nn.Module:
    """The bare model on the current device, in the dtype of the options."""
    gpt = GPTModel(
        config=config,
        transformer_layer_spec=get_gpt_layer_local_spec(),
        vocab_size=PADDED_VOCAB_SIZE,
        max_sequence_length=options.seq,
        position_embedding_type="rope",
    )
    gpt.model_type = ModelType.encoder_or_decoder
    gpt = gpt.to(torch.device("npu:0"))
    return gpt if options.dtype == "fp32" else Float16Module(config, gpt)


def _optimizer(options: argparse.Namespace, model: DistributedDataParallel) -> MegatronOptimizer:
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
    return get_megatron_optimizer(config, [model], use_gloo_process_groups=False)


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


def build(options: argparse.Namespace) -> Job:
    config = transformer_config(options)
    ddp_config = DistributedDataParallelConfig(use_distributed_optimizer=True, grad_reduce_in_fp32=True)
    model = DistributedDataParallel(config, ddp_config, build_gpt(options, config))
    optimizer = _optimizer(options, model)
    config.grad_scale_func = optimizer.scale_loss
    config.finalize_model_grads_func = finalize_model_grads
    config.no_sync_func = model.no_sync
    return Job(model=model, optimizer=optimizer, scheduler=_scheduler(options, optimizer), config=config)
