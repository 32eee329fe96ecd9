# SPDX-License-Identifier: Apache-2.0
"""Linear layers and experts of a model as quantization_plan says."""

from __future__ import annotations

import functools
import types

from torch import nn

from mindspeed.fsdp.distributed.expert_parallel.dispatcher import QUANTISED, WEIGHTS, experts_alone
from mindspeed.fsdp.parallel_engine_config import EXPERTS, QuantizeConfig
from mindspeed.fsdp.quantization.core.pre_quant_weight import PreQuantWeight
from mindspeed.fsdp.quantization.module.gmm_mxfp8 import weight_quant
from mindspeed.fsdp.quantization.module.linear_mxfp8 import MXLinear, process_quant_result_fn
from mindspeed.fsdp.utils.modules import matching

__all__ = ["quantise_modules"]


def _is_experts(module: nn.Module) -> bool:
    return {name for name, weight in module.named_parameters(recurse=False) if weight.dim() == 3} == set(
        WEIGHTS
    )


def _gather_in_8_bits(experts: nn.Module, plan: QuantizeConfig, name: str) -> None:
    both, down = (getattr(experts, key) for key in WEIGHTS)
    is_out_in = both.shape[2] == down.shape[1]
    dtype = plan.get_key_dtype("weight")
    for key, weight in zip(WEIGHTS, (both, down), strict=True):
        quantise = functools.partial(process_quant_result_fn, dst_type=dtype, config=plan)
        if not is_out_in:
            shape = (-1, *weight.shape[1:])
            quantise = functools.partial(weight_quant, dst_type=dtype, new_shape=shape, config=plan)
        made = PreQuantWeight(weight.detach(), quantise, plan, weight.dtype, name=f"{name}.{key}")
        setattr(experts, key, nn.Parameter(made, requires_grad=weight.requires_grad))


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
                if plan.enable_fsdp_low_precision_all_gather:
                    _gather_in_8_bits(module, plan, name)
            else:
                MXLinear.from_float(module, plan, name)
