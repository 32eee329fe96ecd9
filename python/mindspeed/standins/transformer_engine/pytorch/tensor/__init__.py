# SPDX-License-Identifier: Apache-2.0
"""Classes of quantised tensors: weights that are in 8 bits, made inside of fp8_model_init."""

from __future__ import annotations

from mindspeed.standins.refusal import missing_attribute

from ._quantized import QuantizedTensor

from . import float8_blockwise_tensor, float8_tensor, mxfp8_tensor, utils  # isort: skip  (they need the class)

__all__ = ["QuantizedTensor", "float8_blockwise_tensor", "float8_tensor", "mxfp8_tensor", "utils"]

__getattr__ = missing_attribute(__name__)
