# SPDX-License-Identifier: Apache-2.0
"""multi_tensor_applier(operation, flag, lists, *arguments)"""

from __future__ import annotations

from mindspeed.ops.multi_tensor import MultiTensorApply, multi_tensor_applier
from mindspeed.standins.refusal import missing_attribute

__all__ = ["MultiTensorApply", "multi_tensor_applier"]

__getattr__ = missing_attribute(__name__)
