# SPDX-License-Identifier: Apache-2.0
"""Kullback-Leibler divergence of a student's words from a teacher's, over a vocabulary that ranks share.

    T^2 sum_v p (log p - log q),  p = softmax(teacher / T), q = softmax(student / T);  d student = T (q - p)

Logits are read in blocks that stay in cache, twice each: for the sums of exponentials, then for the divergence. A word's
term is taken as p (log p - log q) + q - p, which sums up to the same and in which the rounding of the two sums of
exponentials cancels: small divergences keep seven digits behind the point, on one rank and on several. q - p, all that the
gradient needs, takes the place of the teacher's logits: nothing else of the vocabulary's size is kept.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mindspeed.features.fusion.cross_entropy import (
    Share,
    across,
    log_sum_exp,
    row_blocks,
    tensor_parallel_share,
)
from mindspeed.ops._results import not_a_view


def _over(logits: Tensor, temperature: float) -> Tensor:
    """In float32."""
    return logits.float() if temperature == 1 else logits.float() / temperature


def _log_sums(logits: Tensor, temperature: float) -> Tensor:
    """Per row, of this rank's part."""
    if temperature == 1:
        return log_sum_exp(logits)
    blocks = row_blocks(*logits.shape)
    return torch.cat([torch.logsumexp(_over(logits[rows], temperature), -1) for rows in blocks])


def _of_own_part(student: Tensor, teacher: Tensor, sums: Tensor, temperature: float) -> Tensor:
    """The divergence of each row over this rank's words; q - p takes the place of the teacher's logits.

    sums: [2, rows], logarithms of the sums over all ranks, the student's first.
    """
    found = []
    for rows in row_blocks(*student.shape):
        log_q = _over(student[rows], temperature) - sums[0, rows].unsqueeze(1)
        log_p = _over(teacher[rows], temperature) - sums[1, rows].unsqueeze(1)
        p = log_p.exp()
        difference = log_q.exp().sub_(p)
        found.append(log_p.sub_(log_q).mul_(p).add_(difference).sum(-1))
        teacher[rows] = difference
    return torch.cat(found)


class _Divergence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, student: Tensor, teacher: Tensor, target: Tensor, temperature: float, share: Share
    ) -> tuple[Tensor, Tensor]:
        width = student.shape[-1]
        flat, of_teacher = student.reshape(-1, width), teacher.reshape(-1, width)
        index, inside = share.place(target, width)
        predicted = flat.gather(1, index.unsqueeze(1)).squeeze(1).float() * inside
        none = torch.zeros_like(predicted)
        plain = log_sum_exp(flat)
        student_sums = plain if temperature == 1 else _log_sums(flat, temperature)
        sums = torch.stack((plain, student_sums, _log_sums(of_teacher, temperature)))
        sums, predicted = across(share, sums, torch.stack((predicted, none, none)))
        divergence = _of_own_part(flat, of_teacher, sums[1:], temperature)
        if share.ranks > 1:
            torch.distributed.all_reduce(divergence, group=share.group)
        ctx.temperature = temperature
        ctx.save_for_backward(of_teacher)
        entropy = not_a_view((sums[0] - predicted[0]).view(target.shape))
        ctx.mark_non_differentiable(entropy)
        return not_a_view(divergence.mul_(temperature**2).view(target.shape)), entropy

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (difference,) = ctx.saved_tensors
        factor = grads[0].reshape(-1, 1).float() * ctx.temperature
        for rows in row_blocks(*difference.shape):
            difference[rows] = difference[rows].float() * factor[rows]
        return difference.view(*grads[0].shape, -1), None, None, None, None


def divergence(
    student: Tensor, teacher: Tensor, target: Tensor, *, temperature: float, share: Share | None = None
) -> tuple[Tensor, Tensor]:
    """(divergence, cross entropy) of each token, both like target and in float32; the second is for reports, without a gradient.

    student, teacher  [..., words of this rank's share], of one shape and type; the teacher's are overwritten.
    target            [...], numbers of words of the whole vocabulary.
    share             of the vocabulary; by default the tensor-parallel rank's.

    Raises ValueError if student and teacher differ in shape.
    """
    if student.shape != teacher.shape:
        raise ValueError(
            f"the student's logits are {list(student.shape)} and the teacher's {list(teacher.shape)}; wanted the same "
            "words for the same tokens"
        )
    found: tuple[Tensor, Tensor] = _Divergence.apply(
        student, teacher, target, temperature, share or tensor_parallel_share(None)
    )
    return found
