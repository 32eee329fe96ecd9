# SPDX-License-Identifier: Apache-2.0
"""The two normalisations as operator calls."""

from __future__ import annotations

import torch
import torch_npu

from mindspeed.ops.typed import typed


def layer_norm(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, eps: float, zero_centered: bool
) -> torch.Tensor:
    """Over the last dimension; a zero-centred weight is kept as what is added to 1."""
    weight = typed(weight + 1 if zero_centered else weight, x.dtype)
    bias = None if bias is None else typed(bias, x.dtype)
    return torch.nn.functional.layer_norm(x, (x.shape[-1],), weight, bias, eps)


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float, zero_centered: bool) -> torch.Tensor:
    """Over the last dimension."""
    weight = typed(weight + 1 if zero_centered else weight, x.dtype)
    if x.device.type != "npu":
        return torch.nn.functional.rms_norm(x, (x.shape[-1],), weight, eps)
    result: torch.Tensor = torch_npu.npu_rms_norm(x, weight, eps)[0]
    return result
