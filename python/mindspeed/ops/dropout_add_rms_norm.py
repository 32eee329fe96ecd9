# SPDX-License-Identifier: Apache-2.0
"""rms_norm(dropout(x0 * scales) + residual), composed of operators."""

from __future__ import annotations

from typing import Any

import torch
import torch_npu

from mindspeed.ops.dropout_add_layer_norm import dropout_add_norm
from mindspeed.ops.typed import typed

__all__ = ["npu_dropout_add_rms_norm"]


def npu_dropout_add_rms_norm(
    x0: torch.Tensor,
    residual: torch.Tensor | None,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    dropout_p: float,
    epsilon: float,
    rowscale: torch.Tensor | None = None,
    layerscale: torch.Tensor | None = None,
    prenorm: bool = False,
    residual_in_fp32: bool = False,
    return_dropout_mask: bool = False,
) -> Any:
    """As npu_dropout_add_layer_norm, with RMSNorm; a bias [h] is added behind it."""

    def norm(x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = torch_npu.npu_rms_norm(x, typed(weight, x.dtype), epsilon=epsilon)[0]
        return result if bias is None else result + bias

    scales = (rowscale, layerscale)
    return dropout_add_norm(
        norm, x0, residual, scales, dropout_p, weight.dtype, prenorm, residual_in_fp32, return_dropout_mask
    )
