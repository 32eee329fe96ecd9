# SPDX-License-Identifier: Apache-2.0
"""Linear layers of a model as quantization_plan says."""

from __future__ import annotations

from torch import nn

from mindspeed.fsdp.parallel_engine_config import QuantizeConfig
from mindspeed.fsdp.quantization.module.linear_mxfp8 import MXLinear
from mindspeed.fsdp.utils.modules import matching

__all__ = ["quantise_modules"]


def quantise_modules(model: nn.Module, plan: QuantizeConfig, *, is_recomputed: bool = False) -> None:
    """Of the layers (apply_modules) all that is nn.Linear in them, but for ignored_modules and what is in these.

    is_recomputed: a forward pass within the backward pass wants both numbers at once.
    """
    if is_recomputed:
        plan.fsdp_low_precision_all_gather_mode = "all"
    ignored = matching("quantization_plan.ignored_modules", model, plan.ignored_modules)
    left_out = {id(part) for module in ignored.values() for part in module.modules()}
    found = {
        f"{layer}.{name}" if name else layer: part
        for layer, module in matching("quantization_plan.apply_modules", model, plan.apply_modules).items()
        for name, part in module.named_modules()
        if type(part) is nn.Linear and id(part) not in left_out
    }
    if not found:
        raise ValueError(
            f"quantization_plan.apply_modules: there is no nn.Linear in what {plan.apply_modules} name, but for ignored_modules"
        )
    for name, module in found.items():
        MXLinear.from_float(module, plan, name)
