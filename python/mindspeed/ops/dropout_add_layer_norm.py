# SPDX-License-Identifier: Apache-2.0
"""norm(dropout(x0 * scales) + residual), composed of operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from mindspeed.ops.typed import typed

__all__ = ["npu_dropout_add_layer_norm"]
Norm = Callable[[torch.Tensor], torch.Tensor]


def npu_dropout_add_layer_norm(
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
    """The result, with prenorm also the sum before the norm, with return_dropout_mask also the mask (uint8).

    x0                [..., h]; float32, bfloat16 or float16
    residual          like x0, or float32; None: nothing is added.
    weight, bias      [h]
    rowscale          [...], a factor per row; layerscale [h], a factor per column; both before dropout.
    residual_in_fp32  the sum is kept in float32.
    """

    def norm(x: torch.Tensor) -> torch.Tensor:
        parameters = (None if t is None else typed(t, x.dtype) for t in (weight, bias))
        return torch.nn.functional.layer_norm(x, (x.shape[-1],), *parameters, epsilon)

    scales = (rowscale, layerscale)
    return dropout_add_norm(
        norm, x0, residual, scales, dropout_p, weight.dtype, prenorm, residual_in_fp32, return_dropout_mask
    )


def dropout_add_norm(
    norm: Norm,
    x0: torch.Tensor,
    residual: torch.Tensor | None,
    scales: tuple[torch.Tensor | None, torch.Tensor | None],
    dropout_p: float,
    dtype: torch.dtype,
    prenorm: bool,
    residual_in_fp32: bool,
    return_dropout_mask: bool,
) -> Any:
    """What both norms share; the result has the type of the weight."""
    rowscale, layerscale = scales
    x = x0 if rowscale is None else x0 * rowscale.reshape(*x0.shape[:-1], 1)
    x = x if layerscale is None else x * layerscale
    mask = None
    if dropout_p > 0.0:
        mask = torch.rand_like(x, dtype=torch.float32) >= dropout_p
        x = torch.where(mask, x / (1.0 - dropout_p), 0.0)
    wide = residual_in_fp32 or (residual is not None and residual.dtype is torch.float32)
    total = x.float() if wide else x
    total = total if residual is None else total + residual
    results = [norm(total).to(dtype)]
    if prenorm:
        results.append(total)
    if return_dropout_mask:
        kept = (
            torch.ones(x0.shape, dtype=torch.uint8, device=x0.device)
            if mask is None
            else mask.to(torch.uint8)
        )
        results.append(kept)
    return results[0] if len(results) == 1 else tuple(results)
