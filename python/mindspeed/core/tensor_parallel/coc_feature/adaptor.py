# SPDX-License-Identifier: Apache-2.0
"""Layers whose products are cut around their collectives, as --use-ascend-coc makes all of them, under the names that other
projects import. Their config says how: coc_mode, coc_parallel_num, coc_fused_kernel."""

from __future__ import annotations

import dataclasses
from typing import Any

from megatron.core.tensor_parallel.layers import ColumnParallelLinear, RowParallelLinear

from mindspeed.args_utils import get_full_args
from mindspeed.features.communication import _layers
from mindspeed.features.communication.ascend_coc import AS_MEGATRON, WHOLE
from mindspeed.features.communication.ascend_mc2 import RANKS
from mindspeed.ops.parallel_linear import Plan

__all__ = ["MindSpeedCoCColumnParallelLinear", "MindSpeedCoCRowParallelLinear"]


def _accumulates(config: Any) -> bool:
    """Of parts of a sequence, without fused kernels, arguments decide with the config whether gradients go into main_grad."""
    asked = getattr(get_full_args(), "gradient_accumulation_fusion", False)
    cut = config.sequence_parallel and not config.coc_fused_kernel
    return bool(config.gradient_accumulation_fusion or (asked and cut))


class MindSpeedCoCColumnParallelLinear(_layers.Column):
    def __init__(self, *args: Any, config: Any, **kwargs: Any) -> None:
        ColumnParallelLinear.__init__(self, *args, config=config, **kwargs)
        self.gradient_accumulation_fusion = _accumulates(config)

    def _takes(self, plan: Plan) -> bool:
        has_one = plan.gathers or plan.scatters or plan.sums
        return bool(has_one and (self.config.coc_fused_kernel or self.config.coc_mode != AS_MEGATRON))

    def _lay(self, plan: Plan) -> Plan:
        config = self.config
        pieces = 1 if config.coc_mode in (AS_MEGATRON, WHOLE) else config.coc_parallel_num
        return dataclasses.replace(plan, fused=config.coc_fused_kernel and plan.size in RANKS, cut=pieces)


class MindSpeedCoCRowParallelLinear(_layers.Row):
    def __init__(self, *args: Any, config: Any, **kwargs: Any) -> None:
        RowParallelLinear.__init__(self, *args, config=config, **kwargs)
        self.gradient_accumulation_fusion = _accumulates(config)

    _takes = MindSpeedCoCColumnParallelLinear._takes
    _lay = MindSpeedCoCColumnParallelLinear._lay
