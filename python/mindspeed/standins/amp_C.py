# SPDX-License-Identifier: Apache-2.0
"""MindSpeed's stand-in for Apex's extension with operations on lists of tensors."""

from __future__ import annotations

from mindspeed.ops.multi_tensor import multi_tensor_l2norm, multi_tensor_scale
from mindspeed.standins.refusal import missing_attribute

__all__ = ["multi_tensor_l2norm", "multi_tensor_scale"]

__getattr__ = missing_attribute(__name__)
