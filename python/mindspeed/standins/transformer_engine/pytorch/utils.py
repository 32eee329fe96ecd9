# SPDX-License-Identifier: Apache-2.0
"""Small helpers that Megatron and the modules here share."""

from __future__ import annotations

from typing import Any

import torch
import torch_npu

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


def make_weak_ref(value: Any) -> Any:
    """Tensors on the same memory that do not keep it, for what the pool of a captured graph keeps; in lists, tuples and
    dictionaries too. Tensors that are not on an NPU stay as they are."""
    if isinstance(value, torch.Tensor):
        return torch_npu._C._weak_ref_tensor(value) if value.device.type == "npu" else value
    if isinstance(value, (list, tuple)):
        return type(value)(make_weak_ref(item) for item in value)
    if isinstance(value, dict):
        return {key: make_weak_ref(item) for key, item in value.items()}
    return value
