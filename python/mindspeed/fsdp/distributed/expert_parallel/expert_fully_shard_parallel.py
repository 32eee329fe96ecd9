# SPDX-License-Identifier: Apache-2.0
"""Each rank's experts, sharded again by the ranks that have the same ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.distributed import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import Shard

from mindspeed.fsdp.parallel_engine_config import EPPlanConfig
from mindspeed.fsdp.utils.modules import matching

__all__ = ["expert_fully_shard_modules", "get_efsdp_modules", "set_gradient_divide_factor"]


def get_efsdp_modules(modules: nn.Module, plan: EPPlanConfig) -> list[nn.Module]:
    """Experts that the plan names, themselves or by what contains them: a router beside them is no expert."""
    named = matching("ep_plan.apply_efsdp_modules", modules, plan.apply_efsdp_modules or ())
    below = {id(part) for module in named.values() for part in module.modules()}
    experts = matching("ep_plan.apply_modules", modules, plan.apply_modules or ())
    missing = [name for name, module in experts.items() if id(module) not in below]
    if missing:
        raise ValueError(
            f"ep_plan.apply_efsdp_modules leaves out the experts {', '.join(missing)}, whose gradients nobody would sum; name "
            "all, or leave it out"
        )
    return list(experts.values())


def expert_fully_shard_modules(
    model: nn.Module, efsdp_mesh: DeviceMesh, plan: EPPlanConfig, mp_policy: MixedPrecisionPolicy
) -> nn.Module:
    options: dict[str, Any] = {
        "mesh": efsdp_mesh,
        "mp_policy": mp_policy,
        "shard_placement_fn": lambda parameter: Shard(1),
    }
    reduced = mp_policy.reduce_dtype or mp_policy.param_dtype
    if reduced == torch.float16 and efsdp_mesh["efsdp"].size() == 1:
        raise ValueError(
            "fsdp_plan.reduce_dtype is float16, in which gradients of experts that are not sharded are divided twice; give fp32, "
            "or an expert_fully_shard_parallel_size above 1"
        )
    for experts in get_efsdp_modules(model, plan):
        fully_shard(experts, **options)
        set_gradient_divide_factor(experts, plan._gradient_divide_factor)
    return model


def set_gradient_divide_factor(module: Any, factor: float | None) -> None:
    """Their gradients are sums over the tokens of all ranks, and those of everything else are means."""
    if factor is None:
        return
    if not hasattr(module, "set_force_sum_reduction_for_comms"):
        raise NotImplementedError(
            f"expert_parallel_size: torch {torch.__version__} divides gradients by a factor only in a sum that multiplies, which "
            "HCCL has not; use torch 2.8 or later"
        )
    module.set_gradient_divide_factor(factor)
    # Where there is one shard PyTorch divides in the copy already, and by a forced sum would do so again.
    module.set_force_sum_reduction_for_comms(_shards(module) > 1)


def _shards(module: nn.Module) -> int:
    """Ranks that share a parameter: of the mesh of its shards the last dimension before that of the experts."""
    weight: Any = next(module.parameters())
    return int(weight.device_mesh["efsdp"].size())
