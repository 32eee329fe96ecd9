# SPDX-License-Identifier: Apache-2.0
"""A small GPT of megatron-core on one virtual NPU, in this process: for tests of features and for the benchmark.

The adaptor must be active before this is called: Megatron is imported here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

DEVICE = "npu"  # the one that is set


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """llama: RMSNorm, SwiGLU, no biases, half as many groups as heads; otherwise LayerNorm, GELU and biases.

    experts: of each layer, two for a token, SwiGLU and no biases, in grouped products; `te` in Transformer Engine's layers.
    """

    layers: int = 2
    hidden: int = 64
    heads: int = 4
    sequence: int = 48
    vocab: int = 128
    batch: int = 2
    llama: bool = False
    experts: int = 0
    te: bool = False
    dtype: torch.dtype = torch.float32


def start() -> None:
    """One rank, which is all of the world."""
    from megatron.core import parallel_state, tensor_parallel

    torch.npu.set_device(0)
    torch.distributed.init_process_group("hccl", store=torch.distributed.HashStore(), rank=0, world_size=1)
    parallel_state.initialize_model_parallel(create_gloo_process_groups=False)
    tensor_parallel.model_parallel_cuda_manual_seed(1)


def stop() -> None:
    from megatron.core import parallel_state

    parallel_state.destroy_model_parallel()
    torch.distributed.destroy_process_group()


def config_of(size: Size, **more: Any) -> Any:
    from megatron.core.transformer.transformer_config import TransformerConfig

    llama = {
        "normalization": "RMSNorm", "gated_linear_unit": True, "activation_func": torch.nn.functional.silu,
        "bias_activation_fusion": True, "add_bias_linear": False, "num_query_groups": size.heads // 2,
    }  # fmt: skip
    gpt = {"bias_activation_fusion": True}
    moe = {
        "num_moe_experts": size.experts, "moe_grouped_gemm": True, "moe_router_topk": 2, "moe_aux_loss_coeff": 1e-2,
        "moe_token_dispatcher_type": "alltoall", "moe_router_load_balancing_type": "aux_loss", "add_bias_linear": False,
        "gated_linear_unit": True, "activation_func": torch.nn.functional.silu, "moe_ffn_hidden_size": size.hidden,
    }  # fmt: skip
    chosen = (llama if size.llama else gpt) | (moe if size.experts else {}) | {
        "hidden_dropout": 0.0, "attention_dropout": 0.0, "bf16": size.dtype is torch.bfloat16,
        "params_dtype": size.dtype, "pipeline_dtype": size.dtype,
    }  # fmt: skip
    return TransformerConfig(
        num_layers=size.layers,
        hidden_size=size.hidden,
        num_attention_heads=size.heads,
        **(chosen | more),
    )


def build(size: Size, **more: Any) -> torch.nn.Module:
    """With weights of a seed; `more` goes to the config."""
    from megatron.core.models.gpt import GPTModel, gpt_layer_specs

    config = config_of(size, **more)
    experts = {"num_experts": config.num_moe_experts, "moe_grouped_gemm": config.moe_grouped_gemm}
    if size.te:
        spec = gpt_layer_specs.get_gpt_layer_with_transformer_engine_spec(**experts)
    else:
        spec = gpt_layer_specs.get_gpt_layer_local_spec(normalization=config.normalization, **experts)
    gpt = GPTModel(config, spec, size.vocab, size.sequence, position_embedding_type="rope")
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in gpt.named_parameters():
            noise = 0.05 * torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1.0 + noise if "norm" in name and name.endswith("weight") else noise)
    return gpt.to(DEVICE)


def trainer(gpt: torch.nn.Module, size: Size) -> tuple[torch.nn.Module, Any]:
    """Megatron's DistributedDataParallel and its Adam, gradients in float32."""
    from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig
    from megatron.core.optimizer import OptimizerConfig, get_megatron_optimizer
    from megatron.core.transformer.module import Float16Module

    if size.dtype is torch.bfloat16:
        gpt = Float16Module(gpt.config, gpt)
    model = DistributedDataParallel(gpt.config, DistributedDataParallelConfig(grad_reduce_in_fp32=True), gpt)
    optimizer = get_megatron_optimizer(
        OptimizerConfig(
            optimizer="adam", lr=1e-3, min_lr=1e-3, weight_decay=0.1, clip_grad=1.0,
            bf16=size.dtype is torch.bfloat16, params_dtype=size.dtype,
        ),
        [model],
        use_gloo_process_groups=False,
    )  # fmt: skip
    return model, optimizer


def batches(size: Size, steps: int) -> list[Tensor]:
    """Counting with a stride per row: there is something to learn. [batch, sequence + 1]"""
    generator = torch.Generator().manual_seed(3)
    found = []
    for _ in range(steps):
        begin = torch.randint(0, size.vocab, (size.batch, 1), generator=generator)
        stride = torch.randint(1, 4, (size.batch, 1), generator=generator)
        found.append(((begin + stride * torch.arange(size.sequence + 1)) % size.vocab).to(DEVICE))
    return found


def train_step(model: torch.nn.Module, optimizer: Any, text: Tensor, mask: Tensor | None = None) -> Tensor:
    """The loss, a tensor of the device."""
    positions = torch.arange(text.shape[1] - 1, device=text.device).expand(text.shape[0], -1)
    model.zero_grad_buffer()
    optimizer.zero_grad()
    loss = model(text[:, :-1].contiguous(), positions, mask, labels=text[:, 1:].contiguous()).float().mean()
    loss.backward()
    model.finish_grad_sync()
    optimizer.step()
    return loss.detach()


def losses(size: Size, steps: int = 5, **more: Any) -> list[float]:
    model, optimizer = trainer(build(size, **more), size)
    return [train_step(model, optimizer, text).item() for text in batches(size, steps)]
