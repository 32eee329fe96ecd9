# SPDX-License-Identifier: Apache-2.0
"""Optimizers, and operations on lists of tensors."""

from __future__ import annotations

from mindspeed.ops.fused_adam import FusedAdam as _Adam
from mindspeed.ops.fused_sgd import FusedSGD
from mindspeed.ops.multi_tensor import multi_tensor_applier, multi_tensor_l2norm, multi_tensor_scale
from mindspeed.standins.refusal import missing_attribute

FusedAdam = _Adam

__all__ = ["FusedAdam", "FusedSGD", "multi_tensor_applier", "multi_tensor_l2norm", "multi_tensor_scale"]

__getattr__ = missing_attribute(__name__)
