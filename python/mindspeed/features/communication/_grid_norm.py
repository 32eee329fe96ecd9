# SPDX-License-Identifier: Apache-2.0
"""LayerNorm and RMSNorm of a hidden size that is cut over ranks: one small collective forward and one backward.

Each rank takes the mean m and the sum of squares around it q of its own h numbers. Together, H = y h:
    mean = sum(m) / y,    sum of squares = sum(q) + h sum((m - mean)^2)
which loses nothing where the mean is large, unlike a sum of squares less a square of sums. Backward, g the gradient times
the weight and n the normalized input:  dx = (g - (sum(g) + n sum(g n)) / H) / deviation, without sum(g) for RMSNorm.
All is in float32, whatever the input's type. A rank gets (y - 1) 8 bytes for each token, 4 for RMSNorm.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mindspeed.features.communication._grid import Side, gather


def _centered(x: Tensor, width: int, side: Side) -> tuple[Tensor, Tensor]:
    """Mean over all ranks, and the sum of squares around it."""
    mean = x.mean(-1, keepdim=True)
    squares = (x - mean).square().sum(-1, keepdim=True)
    if side.size == 1:
        return mean, squares
    means, sums = gather(torch.stack((mean, squares)), side).unbind(1)
    whole = means.mean(0)
    return whole, sums.sum(0) + width * (means - whole).square().sum(0)


def _summed(x: Tensor, side: Side) -> Tensor:
    if side.size > 1:
        torch.distributed.all_reduce(x, group=side.group)
    return x


class Normalized(torch.autograd.Function):
    """x [..., h]; with a bias a LayerNorm, without one an RMSNorm."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, eps: float, whole: int, side: Side
    ) -> Tensor:
        exact = x.float()
        if bias is None:
            mean, squares = None, _summed(exact.square().sum(-1, keepdim=True), side)
        else:
            mean, squares = _centered(exact, x.shape[-1], side)
        scale = torch.rsqrt(squares / whole + eps)
        ctx.save_for_backward(x, weight, mean, scale)
        ctx.side, ctx.whole = side, whole
        normal = exact * scale if mean is None else (exact - mean) * scale
        y = normal * weight
        return (y if bias is None else y + bias).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, scale = ctx.saved_tensors
        normal = x.float() if mean is None else x.float() - mean
        normal = normal * scale
        exact = grad.float()
        inner = exact * weight
        parts = [(inner * normal).sum(-1, keepdim=True)]
        if mean is not None:
            parts.append(inner.sum(-1, keepdim=True))
        sums = _summed(torch.stack(parts), ctx.side) / ctx.whole
        grad_x = inner - normal * sums[0]
        if mean is not None:
            grad_x = grad_x - sums[1]
        over = tuple(range(grad.dim() - 1))
        grad_weight = (exact * normal).sum(over).to(weight.dtype)
        grad_bias = exact.sum(over).to(weight.dtype) if mean is not None else None
        return (grad_x * scale).to(x.dtype), grad_weight, grad_bias, None, None, None
