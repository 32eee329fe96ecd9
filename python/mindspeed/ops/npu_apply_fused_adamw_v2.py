# SPDX-License-Identifier: Apache-2.0
"""One step of AdamW for one tensor, with the step number on the device (aclnnApplyAdamWV2)."""

from __future__ import annotations

import torch

__all__ = ["npu_apply_fused_adamw_v2"]


def npu_apply_fused_adamw_v2(
    param: torch.Tensor,
    grad: torch.Tensor,
    exp_avg: torch.Tensor,
    exp_avg_sq: torch.Tensor,
    max_exp_avg_sq: torch.Tensor | None,
    state_step: torch.Tensor,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    weight_decay: float = 0.0,
    eps: float = 1e-8,
    amsgrad: bool = False,
    maximize: bool = False,
) -> None:
    """In place: param, exp_avg, exp_avg_sq and, with amsgrad, max_exp_avg_sq.

    param, exp_avg, exp_avg_sq  of one shape and type: float32, bfloat16 or float16.
    grad, max_exp_avg_sq        of that shape, of any of these types.
    state_step                  one number, int64 or float32: the steps including this one.
    """
    maxima = [max_exp_avg_sq.to(param.dtype)] if amsgrad and max_exp_avg_sq is not None else []
    if amsgrad and not maxima:
        raise ValueError("npu_apply_fused_adamw_v2: amsgrad needs max_exp_avg_sq")
    step = state_step.reshape(()).to(torch.float32)
    torch._fused_adamw_(
        [param], [grad.to(param.dtype)], [exp_avg], [exp_avg_sq], maxima, [step], lr=lr, beta1=beta1, beta2=beta2,
        weight_decay=weight_decay, eps=eps, amsgrad=amsgrad, maximize=maximize,
    )  # fmt: skip
    if max_exp_avg_sq is not None and maxima and maxima[0] is not max_exp_avg_sq:
        max_exp_avg_sq.copy_(maxima[0])
