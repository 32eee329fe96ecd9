# SPDX-License-Identifier: Apache-2.0
"""Classes of quantised tensors: code asks whether a tensor is one, and none is."""

from __future__ import annotations

from mindspeed.standins.refusal import missing_attribute, refused_class

from ..fp8 import ADVICE

QuantizedTensor = refused_class(f"{__name__}.QuantizedTensor", ADVICE)

from . import float8_tensor, mxfp8_tensor, utils  # noqa: E402  (they need the class)

__all__ = ["QuantizedTensor", "float8_tensor", "mxfp8_tensor", "utils"]

__getattr__ = missing_attribute(__name__)
