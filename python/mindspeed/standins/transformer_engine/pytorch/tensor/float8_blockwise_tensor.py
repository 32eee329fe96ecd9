# SPDX-License-Identifier: Apache-2.0
"""Weights in fp8 with a scale for 128 x 128 numbers."""

from __future__ import annotations

from mindspeed.standins.refusal import missing_attribute

from ._quantized import QuantizedTensor


class Float8BlockwiseQTensor(QuantizedTensor):
    """Of the recipe blockwise."""


__getattr__ = missing_attribute(__name__)
