# SPDX-License-Identifier: Apache-2.0
"""Cross entropy of logits whose vocabulary is cut over a tensor-parallel group.

loss = log(sum(exp(z))) - (1 - a) z[target] - a mean(z), a the label smoothing; dz = softmax(z) - (1 - a) onehot - a / V.
"""

from __future__ import annotations

from typing import Any

import torch

from mindspeed.ops._results import not_a_view
from mindspeed.standins.refusal import missing_attribute

from .module.base import group_size

__getattr__ = missing_attribute(__name__)


def _sum(tensor: torch.Tensor, group: Any, op: Any = torch.distributed.ReduceOp.SUM) -> torch.Tensor:
    if group_size(group) > 1:
        torch.distributed.all_reduce(tensor, op=op, group=group)
    return tensor


class _CrossEntropy(torch.autograd.Function):
    """Losses of all rows; the gradient of the logits is kept from forward, as the kernel does."""

    @staticmethod
    def forward(
        ctx: Any, logits: torch.Tensor, target: torch.Tensor, smoothing: float, group: Any, ignored: int
    ) -> torch.Tensor:
        z = logits.float().reshape(-1, logits.shape[-1])
        width = z.shape[1]
        ranks, rank = group_size(group), 0 if group is None else torch.distributed.get_rank(group)
        labels = target.reshape(-1)
        counted = labels != ignored
        local = labels - rank * width
        mine = (local >= 0) & (local < width) & counted
        place = torch.where(mine, local, torch.zeros_like(local)).unsqueeze(1)

        highest = _sum(z.amax(1, keepdim=True), group, torch.distributed.ReduceOp.MAX)
        z = z - highest
        at_target = _sum(z.gather(1, place).squeeze(1) * mine, group)
        weights = z.exp()
        total = _sum(weights.sum(1), group)
        loss = total.log() - at_target
        gradient = weights / total.unsqueeze(1)
        gradient.scatter_add_(1, place, -(1 - smoothing) * mine.to(z.dtype).unsqueeze(1))
        if smoothing > 0:
            vocabulary = width * ranks
            mean = _sum(z.sum(1), group) / vocabulary
            loss = loss + smoothing * (at_target - mean)
            gradient -= smoothing / vocabulary
        ctx.shape, ctx.dtype = logits.shape, logits.dtype
        ctx.save_for_backward(gradient * counted.unsqueeze(1))
        return not_a_view((loss * counted).view(target.shape))

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return (gradient * grad.reshape(-1, 1)).to(ctx.dtype).view(ctx.shape), None, None, None, None


def parallel_cross_entropy(
    inp: torch.Tensor,
    target: torch.Tensor,
    label_smoothing: float = 0.0,
    reduce_loss: bool = False,
    dist_process_group: Any = None,
    ignore_idx: int = -100,
    is_cg_capturable: bool = False,
) -> torch.Tensor:
    """inp [b,s,v / ranks], target [b,s] -> losses [b,s] of float32, or their mean over the rows that count."""
    loss: torch.Tensor = _CrossEntropy.apply(inp, target, label_smoothing, dist_process_group, ignore_idx)
    return loss.sum() / (target != ignore_idx).sum() if reduce_loss else loss
