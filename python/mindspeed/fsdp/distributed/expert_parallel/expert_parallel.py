# SPDX-License-Identifier: Apache-2.0
"""Experts of which each rank has some; tokens travel to them and back."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.distributed import DeviceMesh
from torch.distributed.tensor import Shard, distribute_tensor

from mindspeed.fsdp.distributed.expert_parallel.dispatcher import WEIGHTS, get_experts_forward_fn
from mindspeed.fsdp.parallel_engine_config import EPPlanConfig
from mindspeed.fsdp.quantization.core.pre_quant_weight import PreQuantWeight
from mindspeed.fsdp.utils.modules import matching

__all__ = ["expert_parallelize_modules", "get_dispatcher_fn", "get_ep_modules"]


def get_ep_modules(modules: nn.Module, plan: EPPlanConfig) -> list[nn.Module]:
    return list(matching("ep_plan.apply_modules", modules, plan.apply_modules or ()).values())


def expert_parallelize_modules(modules: nn.Module, ep_mesh: DeviceMesh, plan: EPPlanConfig) -> nn.Module:
    size, rank = ep_mesh.size(), ep_mesh.get_local_rank()
    for name, experts in matching("ep_plan.apply_modules", modules, plan.apply_modules or ()).items():
        count = _experts_of(name, experts, plan)
        if count % size:
            raise ValueError(f"ep_plan: {name} has {count} experts, and {size} ranks are to share them")
        own = count // size
        experts.num_global_experts, experts.num_local_experts = count, own
        experts.local_expert_indices = list(range(rank * own, (rank + 1) * own))
        for part in experts.modules():
            for key, weight in list(part.named_parameters(recurse=False)):
                # Sharded again along another dimension, in which numbers of 8 bits would not be put together.
                plain = weight._tensor if isinstance(weight, PreQuantWeight) else weight
                sharded = distribute_tensor(plain, ep_mesh, [Shard(0)])
                part.register_parameter(key, nn.Parameter(sharded, weight.requires_grad))
        forward = get_dispatcher_fn(plan.dispatcher, ep_mesh.get_group())
        experts.forward = types.MethodType(forward, experts)
    return modules


def _experts_of(name: str, experts: nn.Module, plan: EPPlanConfig) -> int:
    weights = dict(experts.named_parameters())
    if not callable(plan.dispatcher) and set(weights) != set(WEIGHTS):
        raise TypeError(
            f"ep_plan: {name} has the parameters {', '.join(weights)}, and the dispatcher computes with {' and '.join(WEIGHTS)} of "
            "all experts [experts, ., .]; give a function as dispatcher"
        )
    counts = {weight.shape[0] for weight in weights.values()}
    if len(counts) != 1:
        raise TypeError(
            f"ep_plan: parameters of {name} have first dimensions of {sorted(counts)}, wanted all its experts"
        )
    return counts.pop()


def get_dispatcher_fn(dispatcher: Any, ep_group: Any) -> Callable[..., Any]:
    """A function of the plan is called with the group, the experts, tokens, choices and weights."""
    if callable(dispatcher):
        return functools.partial(dispatcher, ep_group)
    return get_experts_forward_fn(ep_group, fused=dispatcher == "fused")
