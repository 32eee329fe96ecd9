# SPDX-License-Identifier: Apache-2.0
"""The place where older versions have the class of fp8 tensors."""

from __future__ import annotations

from mindspeed.standins.refusal import missing_attribute

from .tensor.float8_tensor import Float8Tensor

__all__ = ["Float8Tensor"]

__getattr__ = missing_attribute(__name__)
