# SPDX-License-Identifier: Apache-2.0
"""How far a student's words are from a teacher's, as --qad-enable trains by it, under the name that other projects import."""

from __future__ import annotations

import torch
from megatron.core import parallel_state
from torch import Tensor

from mindspeed.features.fusion.cross_entropy import Share
from mindspeed.features.precision._divergence import divergence

__all__ = ["LogitsKLLoss"]

_REDUCTIONS = {"mean": torch.mean, "sum": torch.sum, "none": torch.Tensor.clone}


class LogitsKLLoss(torch.nn.Module):
    """T^2 sum_v p (log p - log q) of each token, p the teacher's words and q the student's, of logits over a temperature T.

    Logits are [..., words of this tensor-parallel rank]; both stay as they are. Result in float32, the same on all ranks.
    reduction  "mean" and "sum" over the tokens, "none": [...].
    """

    def __init__(self, temperature: float = 1.0, reduction: str = "mean") -> None:
        super().__init__()
        if reduction not in _REDUCTIONS:
            raise ValueError(
                f"LogitsKLLoss: reduction is {reduction!r}, wanted one of {', '.join(_REDUCTIONS)}"
            )
        if temperature <= 0:
            raise ValueError(f"LogitsKLLoss: temperature is {temperature}, wanted more than 0")
        self.temperature, self.reduction = temperature, reduction

    def forward(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """Raises ValueError unless both are of the same shape."""
        if student_logits.shape != teacher_logits.shape:
            raise ValueError(
                "LogitsKLLoss: student and teacher must have the same shape, and have "
                f"{list(student_logits.shape)} and {list(teacher_logits.shape)}"
            )
        words = torch.zeros(student_logits.shape[:-1], dtype=torch.int64, device=student_logits.device)
        teacher = teacher_logits.detach().clone()  # what the gradient needs takes its place
        ranks = parallel_state.get_tensor_model_parallel_world_size()
        group = parallel_state.get_tensor_model_parallel_group() if ranks > 1 else None
        # Whose words they are matters for the cross entropy of `words` alone, which nobody asks for.
        share = Share(group=group, ranks=ranks, rank=0)
        found, _ = divergence(student_logits, teacher, words, temperature=self.temperature, share=share)
        reduced: Tensor = _REDUCTIONS[self.reduction](found)
        return reduced
