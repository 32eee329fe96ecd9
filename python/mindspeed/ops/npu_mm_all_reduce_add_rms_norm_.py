# SPDX-License-Identifier: Apache-2.0
"""The same as npu_mm_all_reduce_add_rms_norm, with the sum in the residual's memory."""

from __future__ import annotations

from typing import Any

import torch

from mindspeed.ops.npu_mm_all_reduce_add_rms_norm import npu_mm_all_reduce_add_rms_norm

__all__ = ["npu_mm_all_reduce_add_rms_norm_"]


def npu_mm_all_reduce_add_rms_norm_(
    x1: torch.Tensor, x2: torch.Tensor, residual: torch.Tensor, gamma: torch.Tensor, hcom: str, **options: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """(residual, norm) with the options of npu_mm_all_reduce_add_rms_norm."""
    y, norm = npu_mm_all_reduce_add_rms_norm(x1, x2, residual, gamma, hcom, **options)
    return residual.copy_(y), norm
