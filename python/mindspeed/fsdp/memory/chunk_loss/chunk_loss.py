# SPDX-License-Identifier: Apache-2.0
"""The loss of a part of the sequence at a time: logits of the whole sequence are never there.

Gradients are computed together with the loss, part by part, and kept: those of the hidden states, of the weight and of the bias.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["ChunkLoss", "calculate_lm_loss", "chunk_loss", "fixed_cross_entropy"]


class ChunkLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_states: Tensor,
        head_weight: Tensor,
        head_bias: Tensor | None,
        loss_forward: Callable[..., tuple[Tensor, Any]],
        loss_kwargs_chunks: Sequence[dict[str, Any]],
        chunk_size: int,
    ) -> Tensor:
        parts = hidden_states.split(chunk_size, dim=1)
        if len(parts) != len(loss_kwargs_chunks):
            raise ValueError(
                f"chunk_loss: {hidden_states.shape[1]} positions are {len(parts)} chunks of {chunk_size}, and loss_kwargs_chunks "
                f"has {len(loss_kwargs_chunks)}"
            )
        head = [None if x is None else x.detach().requires_grad_() for x in (head_weight, head_bias)]
        sums = [None if x is None else torch.zeros_like(x) for x in head]
        of_hidden = torch.empty_like(hidden_states)
        total = hidden_states.new_zeros((), dtype=torch.float32)
        for part, out, options in zip(
            parts, of_hidden.split(chunk_size, dim=1), loss_kwargs_chunks, strict=True
        ):
            with torch.enable_grad():
                own = part.detach().requires_grad_()
                loss, _ = loss_forward(own, *head, **options)
                wanted = [own, *(x for x in head if x is not None)]
                found = list(torch.autograd.grad(loss, wanted, allow_unused=False))
            out.copy_(found.pop(0))
            for x in sums:
                if x is not None:
                    x.add_(found.pop(0))
            total += loss.detach()
        ctx.save_for_backward(of_hidden, *sums)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        found = [None if x is None else x * gradient for x in ctx.saved_tensors]
        return *found, None, None, None


def fixed_cross_entropy(
    source: Tensor,
    target: Tensor,
    alpha: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "sum",
    **kwargs: Any,
) -> Tensor:
    """The sum over tokens divided by alpha: one number, or with reduction none one for each sample of the batch."""
    if reduction not in ("sum", "none"):
        raise ValueError(f"fixed_cross_entropy: reduction is {reduction!r}, wanted sum or none")
    loss = F.cross_entropy(source, target, ignore_index=ignore_index, reduction=reduction)
    if alpha is None:
        return loss.sum()
    alpha = alpha.to(loss.device)
    if reduction == "none" and alpha.ndim:
        loss = loss.view(alpha.shape[0], -1).sum(1)
    elif reduction == "none":
        loss = loss.sum()
    return (loss / alpha).sum()


def calculate_lm_loss(
    hidden_states: Tensor,
    head_weight: Tensor,
    head_bias: Tensor | None = None,
    *,
    shift_labels: Tensor,
    alpha: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor]:
    """(loss, logits in float32) of hidden states [batch, sequence, hidden] and the tokens that follow."""
    logits = F.linear(hidden_states.flatten(0, -2), head_weight, head_bias).float()
    loss = fixed_cross_entropy(
        logits, shift_labels.reshape(-1), alpha, ignore_index, reduction or "sum", **kwargs
    )
    return loss, logits


def chunk_loss(
    hidden_states: Tensor,
    head_weight: Tensor,
    head_bias: Tensor | None,
    loss_forward: Callable[..., tuple[Tensor, Any]],
    loss_kwargs_chunks: Sequence[dict[str, Any]],
    chunk_size: int,
) -> Tensor:
    """The sum of loss_forward(chunk, head_weight, head_bias, **its arguments)[0] over chunks of the sequence.

    hidden_states       [batch, sequence, hidden]
    loss_kwargs_chunks  of each chunk, its labels for instance
    """
    result: Tensor = ChunkLoss.apply(
        hidden_states, head_weight, head_bias, loss_forward, loss_kwargs_chunks, chunk_size
    )
    return result
