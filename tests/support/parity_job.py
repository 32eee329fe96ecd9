# SPDX-License-Identifier: Apache-2.0
"""What both sides of the training parity test share, and its two programs.

    parity_job.py plain                 train PlainGPT on the CPU
    parity_job.py megatron [FLAG ...]   train megatron-core's GPT on NPU 0, with flags of features

Each prints one line of JSON: losses as hexadecimal floats (exact), a checksum of the final weights, and versions.
"""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from mindspeed.adaptor.versions import installed_version
from plain_gpt import PlainGPT, Shape, decay_groups
from torch import Tensor

SHAPE = Shape(layers=2, hidden=64, heads=4, sequence=48, vocab=128)
BATCH, STEPS, RATE, DECAY, CLIP = 4, 20, 1e-3, 0.1, 1.0
BETAS = (0.9, 0.95)


def batches() -> Iterator[tuple[Tensor, Tensor]]:
    """The same data for both: counting with a stride per row, so there is something to learn."""
    generator = torch.Generator().manual_seed(3)
    for _ in range(STEPS):
        start = torch.randint(0, SHAPE.vocab, (BATCH, 1), generator=generator)
        stride = torch.randint(1, 4, (BATCH, 1), generator=generator)
        text = (start + stride * torch.arange(SHAPE.sequence + 1)) % SHAPE.vocab
        yield text[:, :-1].contiguous(), text[:, 1:].contiguous()


def initial_weights() -> dict[str, Tensor]:
    """By PlainGPT's names."""
    generator = torch.Generator().manual_seed(7)
    weights = {}
    for name, value in PlainGPT(SHAPE).state_dict().items():
        noise = 0.05 * torch.randn(value.shape, generator=generator)
        weights[name] = 1.0 + noise if "norm" in name and name.endswith("weight") else noise
    return weights


def plain_name(name: str) -> str:
    """Megatron's parameter name -> PlainGPT's."""
    parts = (
        ("embedding.word_embeddings", "embedding"),
        ("decoder.layers", "blocks"),
        ("decoder.final_layernorm", "norm"),
        ("output_layer", "output"),
        ("input_layernorm", "attention_norm"),
        ("self_attention.linear_qkv", "attention.qkv"),
        ("self_attention.linear_proj", "attention.projection"),
        ("pre_mlp_layernorm", "mlp_norm"),
        ("mlp.linear_fc1", "up"),
        ("mlp.linear_fc2", "down"),
    )
    for theirs, ours in parts:
        name = name.replace(theirs, ours)
    return name.replace("module.", "")


def checksum(weights: dict[str, Tensor]) -> int:
    value = 0
    for name in sorted(weights):
        value = zlib.crc32(weights[name].detach().cpu().numpy().tobytes(), value)
    return value


def train_plain() -> tuple[list[float], int]:
    model = PlainGPT(SHAPE)
    model.load_state_dict(initial_weights())
    optimizer = torch.optim.AdamW(decay_groups(model, DECAY), lr=RATE, betas=BETAS)
    losses = []
    for tokens, labels in batches():
        optimizer.zero_grad()
        loss = model.loss(tokens, labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        losses.append(loss.item())
    return losses, checksum(dict(model.named_parameters()))


def build_megatron() -> tuple[torch.nn.Module, Any]:
    from megatron.core import parallel_state, tensor_parallel
    from megatron.core.distributed import (
        DistributedDataParallel,
        DistributedDataParallelConfig,
        finalize_model_grads,
    )
    from megatron.core.models.gpt import GPTModel
    from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
    from megatron.core.optimizer import OptimizerConfig, get_megatron_optimizer
    from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler
    from megatron.core.transformer.transformer_config import TransformerConfig

    torch.npu.set_device(0)
    torch.distributed.init_process_group("hccl", store=torch.distributed.HashStore(), rank=0, world_size=1)
    parallel_state.initialize_model_parallel(create_gloo_process_groups=False)
    tensor_parallel.model_parallel_cuda_manual_seed(1)
    config = TransformerConfig(
        num_layers=SHAPE.layers,
        hidden_size=SHAPE.hidden,
        num_attention_heads=SHAPE.heads,
        hidden_dropout=0.0,
        attention_dropout=0.0,
    )
    gpt = GPTModel(
        config, get_gpt_layer_local_spec(), SHAPE.vocab, SHAPE.sequence, position_embedding_type="rope"
    )
    weights = initial_weights()
    with torch.no_grad():
        for name, parameter in gpt.named_parameters():
            parameter.copy_(weights[plain_name(name)])
    ddp_config = DistributedDataParallelConfig(use_distributed_optimizer=True)
    model = DistributedDataParallel(config, ddp_config, gpt.to("npu:0"))
    optimizer = get_megatron_optimizer(
        OptimizerConfig(
            optimizer="adam",
            lr=RATE,
            min_lr=RATE,
            weight_decay=DECAY,
            adam_beta1=BETAS[0],
            adam_beta2=BETAS[1],
            clip_grad=CLIP,
            use_distributed_optimizer=True,
        ),
        [model],
        use_gloo_process_groups=False,
    )
    # It tells the groups their weight decay: none for vectors.
    OptimizerParamScheduler(
        optimizer,
        init_lr=RATE,
        max_lr=RATE,
        min_lr=RATE,
        lr_warmup_steps=0,
        lr_decay_steps=STEPS,
        lr_decay_style="constant",
        start_wd=DECAY,
        end_wd=DECAY,
        wd_incr_steps=STEPS,
        wd_incr_style="constant",
    )
    config.grad_scale_func = optimizer.scale_loss
    config.finalize_model_grads_func = finalize_model_grads
    return model, optimizer


def train_megatron() -> tuple[list[float], int]:
    import mindspeed.megatron_adaptor  # noqa: F401
    from megatron.core.pipeline_parallel import get_forward_backward_func

    model, optimizer = build_megatron()
    positions = torch.arange(SHAPE.sequence, device="npu:0").expand(BATCH, -1)

    def forward_step(
        source: Iterator[tuple[Tensor, Tensor]], gpt: torch.nn.Module
    ) -> tuple[Tensor, Callable]:
        tokens, labels = (t.to("npu:0") for t in next(source))
        output = gpt(tokens, positions, None, labels=labels)
        return output, lambda losses: (losses.float().mean(), {"loss": losses.detach().float().mean()})

    source, losses = batches(), []
    for _ in range(STEPS):
        model.zero_grad_buffer()
        optimizer.zero_grad()
        reports = get_forward_backward_func()(
            forward_step_func=forward_step,
            data_iterator=source,
            model=[model],
            num_microbatches=1,
            seq_length=SHAPE.sequence,
            micro_batch_size=BATCH,
            forward_only=False,
        )
        optimizer.step()
        losses.append(reports[0]["loss"].item())
    return losses, checksum({plain_name(name): value for name, value in model.named_parameters()})


def main() -> None:
    losses, weights = {"plain": train_plain, "megatron": train_megatron}[sys.argv[1]]()
    result = {
        "losses": [loss.hex() for loss in losses],
        "weights": weights,
        "versions": {
            name: installed_version(name) or "none" for name in ("torch", "torch_npu", "megatron-core")
        },
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
