# SPDX-License-Identifier: Apache-2.0
"""The class of tensors in blocks of fp8, of which there are none."""

from __future__ import annotations

from mindspeed.standins.refusal import missing_attribute

from . import QuantizedTensor


class MXFP8Tensor(QuantizedTensor):  # type: ignore[misc, valid-type]
    """For isinstance."""


__getattr__ = missing_attribute(__name__)
