# SPDX-License-Identifier: Apache-2.0
"""Layers whose products contain their gather or scatter, as --use-ascend-mc2 makes all of them, under the names that other
projects import."""

from __future__ import annotations

import dataclasses

from mindspeed.features.communication import _layers, ascend_mc2
from mindspeed.ops.parallel_linear import Plan

__all__ = ["MindSpeedMC2ColumnParallelLinear", "MindSpeedMC2RowParallelLinear"]


class MindSpeedMC2ColumnParallelLinear(_layers.Column):
    def _takes(self, plan: Plan) -> bool:
        return ascend_mc2.fuses(plan)

    def _lay(self, plan: Plan) -> Plan:
        return dataclasses.replace(plan, fused=True)


class MindSpeedMC2RowParallelLinear(_layers.Row):
    _takes = MindSpeedMC2ColumnParallelLinear._takes
    _lay = MindSpeedMC2ColumnParallelLinear._lay
