# SPDX-License-Identifier: Apache-2.0
"""Types by their short names."""

from __future__ import annotations

import torch

__all__ = ["get_dtype"]

_BY_NAME = {
    "fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32, "fp64": torch.float64, "int8": torch.int8,
    "int16": torch.int16, "int32": torch.int32, "int64": torch.int64,
}  # fmt: skip


def get_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """A type is what it is."""
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype not in _BY_NAME:
        raise ValueError(f"dtype is {dtype!r}; there are {', '.join(_BY_NAME)}")
    return _BY_NAME[dtype]
