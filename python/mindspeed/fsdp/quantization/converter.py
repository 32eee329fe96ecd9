# SPDX-License-Identifier: Apache-2.0
"""Linear layers and experts of a model as quantization_plan says."""

from __future__ import annotations

import types

from torch import nn

from mindspeed.fsdp.distributed.expert_parallel.dispatcher import QUANTISED, WEIGHTS, experts_alone
from mindspeed.fsdp.parallel_engine_config import EXPERTS, QuantizeConfig
from mindspeed.fsdp.quantization.module.linear_mxfp8 import MXLinear
from mindspeed.fsdp.utils.modules import matching

__all__ = ["quantise_modules"]


def _is_experts(module: nn.Module) -> bool:
    return {name for name, weight in module.named_parameters(recurse=False) if weight.dim() == 3} == set(
        WEIGHTS
    )


def quantise_modules(model: nn.Module, plan: QuantizeConfig, *, is_recomputed: bool = False) -> None:
    """Of the layers (apply_modules) all that is nn.Linear in them, and with quantize.moe.mx all experts, but for ignored_modules and
    what is in these.

    is_recomputed: a forward pass within the backward pass wants both numbers at once.
    """
    if is_recomputed:
        plan.fsdp_low_precision_all_gather_mode = "all"
    ignored = matching("quantization_plan.ignored_modules", model, plan.ignored_modules)
    left_out = {id(part) for module in ignored.values() for part in module.modules()}
    inside = {
        f"{layer}.{name}" if name else layer: part
        for layer, module in matching("quantization_plan.apply_modules", model, plan.apply_modules).items()
        for name, part in module.named_modules()
        if id(part) not in left_out
    }
    for converter in plan.quant_converters:
        wanted = _is_experts if converter == EXPERTS else (lambda part: type(part) is nn.Linear)
        found = {name: part for name, part in inside.items() if wanted(part)}
        if not found:
            what = (
                f"no module with {' and '.join(WEIGHTS)} [experts, ., .]"
                if converter == EXPERTS
                else "no nn.Linear"
            )
            raise ValueError(
                f"quantization_plan.apply_modules: there is {what} in what {plan.apply_modules} name, but for ignored_modules"
            )
        for name, module in found.items():
            if converter == EXPERTS:
                setattr(module, QUANTISED, plan)
                module.forward = types.MethodType(experts_alone, module)  # until ranks share them
            else:
                MXLinear.from_float(module, plan, name)
