# SPDX-License-Identifier: Apache-2.0
"""Weights in fp8 with powers of two for 32 or 32 x 32 numbers."""

from __future__ import annotations

from mindspeed.standins.refusal import missing_attribute

from ._quantized import QuantizedTensor


class MXFP8Tensor(QuantizedTensor):
    """Of the recipes mxfp8 and mxfp8-32x32."""


__getattr__ = missing_attribute(__name__)
