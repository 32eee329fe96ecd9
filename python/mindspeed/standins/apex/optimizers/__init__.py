# SPDX-License-Identifier: Apache-2.0
"""Optimizers whose update is one operator for all parameters of a group."""

from __future__ import annotations

from mindspeed.ops.fused_adam import FusedAdam
from mindspeed.ops.fused_sgd import FusedSGD
from mindspeed.standins.refusal import missing_attribute

__all__ = ["FusedAdam", "FusedSGD"]

__getattr__ = missing_attribute(__name__)
