# SPDX-License-Identifier: Apache-2.0
"""Any model of PyTorch, sharded by a plan: nothing of it is written again."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mindspeed.fsdp.distributed.context_parallel.attention import context_parallel_attention, split_sequence
from mindspeed.fsdp.distributed.expert_parallel.expert_fully_shard_parallel import expert_fully_shard_modules
from mindspeed.fsdp.distributed.expert_parallel.expert_parallel import expert_parallelize_modules
from mindspeed.fsdp.distributed.fully_shard_parallel.fully_shard_parallel import (
    fully_shard_parallel_modules,
    get_mixprecision_policy,
)
from mindspeed.fsdp.distributed.parallel_state import init_parallel_state
from mindspeed.fsdp.distributed.tensor_parallel.tensor_parallel import tensor_parallel_modules
from mindspeed.fsdp.memory.recompute.recompute import recompute_modules
from mindspeed.fsdp.parallel_engine_config import ParallelEngineConfig
from mindspeed.fsdp.quantization.converter import quantise_modules
from mindspeed.fsdp.quantization.core.cache import hook_optimizer_step
from mindspeed.fsdp.utils.clip import clip_grad_norm_

__all__ = ["MindSpeedParallelEngine"]


class MindSpeedParallelEngine(nn.Module):
    """Ranks begin with the same weights; gradients are means over all ranks that do not share a product."""

    def __init__(self, config: ParallelEngineConfig, model: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.parallel_state = init_parallel_state(config)
        self.model = model
        if not any(weight.is_meta for weight in model.parameters()):
            model.to(torch.device("npu", torch.npu.current_device()))
        self.apply_quantization_modules()
        self.apply_cp_modules()
        self.apply_tp_modules()
        self.apply_ep_modules()
        self.apply_recompute_modules()
        self.apply_fsdp_modules()

    def apply_quantization_modules(self) -> None:
        if self.config.quantization_plan.recipe_name:
            quantise_modules(self.model, self.config.quantization_plan, is_recomputed=self.config.recompute)

    def apply_cp_modules(self) -> None:
        if self.config.context_parallel_size * self.config.ulysses_parallel_size > 1:
            self.model = context_parallel_attention(self.model, self.parallel_state)

    def apply_tp_modules(self) -> None:
        if self.config.tensor_parallel_size > 1:
            mesh = self.parallel_state.get_device_mesh("tp")
            self.model = tensor_parallel_modules(self.model, mesh, self.config.tp_plan)

    def apply_ep_modules(self) -> None:
        if self.config.expert_parallel_size == 1:
            return
        state, plan = self.parallel_state, self.config.ep_plan
        plan._gradient_divide_factor = float(state.world_size)
        self.model = expert_parallelize_modules(self.model, state.get_device_mesh("ep"), plan)
        policy = get_mixprecision_policy(self.config.fsdp_plan)
        self.model = expert_fully_shard_modules(self.model, state.experts_mesh(), plan, policy)

    def apply_recompute_modules(self) -> None:
        if self.config.recompute:
            self.model = recompute_modules(self.model, self.config.recompute_plan)

    def apply_fsdp_modules(self) -> None:
        mesh = self.parallel_state.weights_mesh()
        self.model = fully_shard_parallel_modules(self.model, mesh, self.config.fsdp_plan)

    def apply_optimizer_hook(self, optimizer: torch.optim.Optimizer) -> None:
        """Shards of weights that are gathered in 8 bits are quantised once for each of its steps."""
        if self.config.quantization_plan.recipe_name:
            hook_optimizer_step(optimizer)

    def split_sequence(self, input_ids: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """What of a batch this rank hands to the model; of a batch that ranks do not share, all."""
        return split_sequence(self.parallel_state, input_ids, labels)

    def clip_grad_norm_(self, max_norm: float, norm_type: float = 2.0) -> Tensor:
        return clip_grad_norm_(self.parameters(), max_norm, norm_type)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.model(*args, **kwargs)
