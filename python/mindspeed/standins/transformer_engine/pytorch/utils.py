# SPDX-License-Identifier: Apache-2.0
"""Small helpers that Megatron and the modules here share."""

from __future__ import annotations

import torch

from mindspeed.standins.refusal import missing_attribute

__getattr__ = missing_attribute(__name__)


def divide(numerator: int, denominator: int) -> int:
    """A whole quotient."""
    if numerator % denominator:
        raise ValueError(f"{numerator} is not divisible by {denominator}")
    return numerator // denominator


def mark_parallel(parameter: torch.Tensor, axis: int) -> None:
    """Say that a parameter is a slice along an axis, as Megatron reads it."""
    parameter.tensor_model_parallel = True
    parameter.partition_dim = axis
    parameter.partition_stride = 1
