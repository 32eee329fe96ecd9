# SPDX-License-Identifier: Apache-2.0
"""Parameters that each rank has a shard of, by PyTorch's fully_shard, as a plan says."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from mindspeed.fsdp.parallel_engine_config import FSDPPlanConfig
from mindspeed.fsdp.utils.dtype import get_dtype
from mindspeed.fsdp.utils.modules import matching

__all__ = [
    "fully_shard_parallel_modules", "get_fsdp_modules", "get_ignored_modules", "get_mixprecision_policy",
    "set_modules_to_prefetch",
]  # fmt: skip


def fully_shard_parallel_modules(
    model: nn.Module, fsdp_mesh: DeviceMesh, fsdp_plan: FSDPPlanConfig
) -> nn.Module:
    ignored_modules, ignored_params = get_ignored_modules(model, fsdp_plan)
    units = get_fsdp_modules(model, fsdp_plan, ignored_modules)
    options: dict[str, Any] = {
        "mesh": fsdp_mesh,
        "ignored_params": ignored_params,
        "mp_policy": get_mixprecision_policy(fsdp_plan),
    }
    for module, own in reversed(units.items()):  # what is inside first: the outer one takes what is left
        fully_shard(module, **options | own)
    fully_shard(model, **options)
    set_modules_to_prefetch(model, units, fsdp_plan)
    return model


def set_modules_to_prefetch(
    model: nn.Module, fsdp_modules: dict[Any, dict[str, Any]], fsdp_plan: FSDPPlanConfig
) -> None:
    """While a unit computes, parameters of so many next ones are gathered."""
    units = list(fsdp_modules)
    for ahead, order, name in (
        (fsdp_plan.num_to_forward_prefetch or 0, units, "set_modules_to_forward_prefetch"),
        (fsdp_plan.num_to_backward_prefetch or 0, units[::-1], "set_modules_to_backward_prefetch"),
    ):
        for place, unit in enumerate(order):
            if following := order[place + 1 : place + 1 + ahead]:
                getattr(unit, name)(following)


def get_mixprecision_policy(fsdp_plan: FSDPPlanConfig) -> MixedPrecisionPolicy:
    types = {
        name: get_dtype(getattr(fsdp_plan, name))
        for name in ("param_dtype", "reduce_dtype", "output_dtype")
        if getattr(fsdp_plan, name)
    }
    return MixedPrecisionPolicy(cast_forward_inputs=fsdp_plan.cast_forward_inputs, **types)


def get_fsdp_modules(
    model: nn.Module, fsdp_plan: FSDPPlanConfig, ignored_modules: set[str]
) -> dict[Any, dict[str, Any]]:
    """Units in the order of the model, and their options."""
    options: dict[str, dict[str, Any]] = {}
    for pattern, own in (fsdp_plan.apply_modules or {}).items():
        for name in matching("fsdp_plan.apply_modules", model, [pattern]):
            given = {key: value for key, value in (own or {}).items() if value is not None}
            options.setdefault(name, {}).update(given)
    return {
        module: options[name]
        for name, module in model.named_modules()
        if name in options and name not in ignored_modules
    }


def get_ignored_modules(model: nn.Module, fsdp_plan: FSDPPlanConfig) -> tuple[set[str], set[nn.Parameter]]:
    found = matching("fsdp_plan.ignored_modules", model, fsdp_plan.ignored_modules or ())
    return set(found), {parameter for module in found.values() for parameter in module.parameters()}
