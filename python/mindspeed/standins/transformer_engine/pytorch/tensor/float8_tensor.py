# SPDX-License-Identifier: Apache-2.0
"""Weights in fp8 with one scale: of the recipes delayed and tensorwise."""

from __future__ import annotations

from mindspeed.standins.refusal import missing_attribute, refused_class, refused_function

from ._quantized import QuantizedTensor

_ADVICE = "Layers make their weights inside of fp8_model_init"


class Float8Tensor(QuantizedTensor):
    """One scale for a tensor."""

    to_float8 = staticmethod(refused_function(f"{__name__}.Float8Tensor.to_float8", _ADVICE))
    make_like = staticmethod(refused_function(f"{__name__}.Float8Tensor.make_like", _ADVICE))


Float8Quantizer = refused_class(f"{__name__}.Float8Quantizer", _ADVICE)

__getattr__ = missing_attribute(__name__)
