# SPDX-License-Identifier: Apache-2.0
"""Parameters in the type of a computation."""

from __future__ import annotations

import torch


def typed(parameter: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """One that has the type is not touched: under Megatron's FSDP parameters refuse `.to()` even then."""
    return parameter if parameter.dtype == dtype else parameter.to(dtype)
