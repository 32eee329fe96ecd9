# SPDX-License-Identifier: Apache-2.0
"""The class of fp8 tensors, of which there are none."""

from __future__ import annotations

from mindspeed.standins.refusal import missing_attribute, refused_class, refused_function

from ..fp8 import ADVICE
from . import QuantizedTensor


class Float8Tensor(QuantizedTensor):  # type: ignore[misc, valid-type]
    """For isinstance."""

    to_float8 = staticmethod(refused_function(f"{__name__}.Float8Tensor.to_float8", ADVICE))


Float8Quantizer = refused_class(f"{__name__}.Float8Quantizer", ADVICE)

__getattr__ = missing_attribute(__name__)
