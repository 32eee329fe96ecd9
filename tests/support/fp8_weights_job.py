# SPDX-License-Identifier: Apache-2.0
"""`torchrun ... fp8_weights_job.py NAME...`: the GPT of fp8_job.py with Megatron's distributed optimizer, two micro-batches a step.

A name is FORMAT/RECIPE, with /weights for parameters in 8 bits and /reuse for --fp8-reuse-quantized-weight. Rank 0 prints a line
of JSON for each: losses, the bytes of model and optimizer, and how many weights were quantised in a step.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from typing import Any

import torch
import torch_npu

import mindspeed.megatron_adaptor as adaptor  # isort: skip
import fp8_job  # isort: skip

STEPS, BATCHES = 30, 2


def config_of(form: str, recipe: str, weights: bool) -> Any:
    from megatron.core.transformer.transformer_config import TransformerConfig

    return TransformerConfig(
        num_layers=2, hidden_size=fp8_job.HIDDEN, num_attention_heads=4, hidden_dropout=0.0, attention_dropout=0.0, bf16=True,
        params_dtype=torch.bfloat16, pipeline_dtype=torch.bfloat16, fp8=form, fp8_recipe=recipe, fp8_param=weights,
        gradient_accumulation_fusion=False,
    )  # fmt: skip


def build(config: Any) -> tuple[Any, Any]:
    from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig
    from megatron.core.models.gpt import gpt_layer_specs as specs
    from megatron.core.models.gpt.gpt_model import GPTModel
    from megatron.core.optimizer import OptimizerConfig, get_megatron_optimizer
    from megatron.core.tensor_parallel import model_parallel_cuda_manual_seed
    from megatron.core.transformer.module import Float16Module

    model_parallel_cuda_manual_seed(1)
    spec = specs.get_gpt_layer_with_transformer_engine_spec()
    model = GPTModel(config, spec, fp8_job.VOCAB, fp8_job.SEQUENCE, position_embedding_type="rope").npu()
    ddp = DistributedDataParallelConfig(
        use_distributed_optimizer=True, grad_reduce_in_fp32=True, fp8_param_gather=config.fp8_param
    )
    wrapped = DistributedDataParallel(config, ddp, Float16Module(config, model))
    options = OptimizerConfig(
        optimizer="adam", lr=2e-3, min_lr=2e-3, weight_decay=0.01, bf16=True, params_dtype=torch.bfloat16,
        use_distributed_optimizer=True, clip_grad=1.0, fp8_recipe=config.fp8_recipe,
    ) if "fp8_recipe" in OptimizerConfig.__dataclass_fields__ else OptimizerConfig(
        optimizer="adam", lr=2e-3, min_lr=2e-3, weight_decay=0.01, bf16=True, params_dtype=torch.bfloat16,
        use_distributed_optimizer=True, clip_grad=1.0,
    )  # fmt: skip
    return wrapped, get_megatron_optimizer(options, [wrapped], use_gloo_process_groups=False)


def in_use() -> int:
    gc.collect()
    torch.npu.synchronize()
    found: int = torch.npu.memory_stats().get("requested_bytes.all.current", 0)
    return found


def train(name: str) -> dict[str, Any]:
    form, recipe, *words = name.split("/")
    reuse = "reuse" in words
    adaptor.repatch({"optimization_level": 2, "fp8": form, "fp8_reuse_quantized_weight": reuse})
    before = in_use()
    model, optimizer = build(config_of(form, recipe, "weights" in words))
    held = in_use() - before
    places = torch.arange(fp8_job.SEQUENCE).expand(4, -1).npu()
    mask = torch.ones(1, 1, fp8_job.SEQUENCE, fp8_job.SEQUENCE, dtype=torch.bool).triu(1).npu()
    rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
    losses = []
    with Counted() as counted:
        for step in range(STEPS):
            model.zero_grad_buffer()
            optimizer.zero_grad()
            model.set_is_first_microbatch()
            total = torch.zeros((), device="npu")
            for number in range(BATCHES):
                tokens = fp8_job.batch((step * BATCHES + number) * ranks + rank)
                loss = model(
                    tokens[:, :-1].contiguous(), places, mask, labels=tokens[:, 1:].contiguous()
                ).mean()
                (loss / BATCHES).backward()
                total += loss.detach().float() / BATCHES / ranks
            model.start_grad_sync()
            model.finish_grad_sync()
            optimizer.step()
            torch.distributed.all_reduce(total)
            losses.append(total.item())
    return {"losses": losses, "held": held, "weights": counted.number / STEPS}


class Counted:
    """Quantisations of matrices with the shapes of weights: activations have other numbers of rows."""

    NAMES = (
        "npu_dynamic_quant",
        "npu_dynamic_block_quant",
        "npu_dynamic_mx_quant",
        "npu_dynamic_block_mx_quant",
    )
    ROWS = (fp8_job.HIDDEN, 3 * fp8_job.HIDDEN, 4 * fp8_job.HIDDEN)

    def __enter__(self) -> Counted:
        self.number = 0
        self._before = {name: getattr(torch_npu, name) for name in self.NAMES}
        for name, function in self._before.items():
            setattr(torch_npu, name, self._counting(function))
        return self

    def __exit__(self, *_: Any) -> None:
        for name, function in self._before.items():
            setattr(torch_npu, name, function)

    def _counting(self, function: Any) -> Any:
        def count(t: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            self.number += t.dim() == 2 and t.shape[0] in self.ROWS
            return function(t, *args, **kwargs)

        return count


def main() -> None:
    from megatron.core import parallel_state

    torch.npu.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("hccl")
    parallel_state.initialize_model_parallel(create_gloo_process_groups=False)
    train(sys.argv[1])  # what operators keep
    for name in sys.argv[1:]:
        found = train(name)
        if torch.distributed.get_rank() == 0:
            print(json.dumps(found), flush=True)
    parallel_state.destroy_model_parallel()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
