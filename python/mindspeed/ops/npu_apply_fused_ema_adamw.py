# SPDX-License-Identifier: Apache-2.0
"""One step of Adam or AdamW for one tensor, and of a moving average of the parameter."""

from __future__ import annotations

import torch

__all__ = ["npu_apply_fused_ema_adamw"]
# So many steps that beta to their power is 0: no correction of the bias.
_NO_CORRECTION = 1e30


def npu_apply_fused_ema_adamw(
    grad: torch.Tensor,
    var: torch.Tensor,
    m: torch.Tensor,
    v: torch.Tensor,
    s: torch.Tensor,
    step: torch.Tensor,
    lr: float = 1e-3,
    ema_decay: float = 0.9999,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    mode: int = 1,
    bias_correction: bool = True,
    weight_decay: float = 0.0,
) -> list[torch.Tensor]:
    """[var, m, v, s], changed in place.

    grad, var, m, v, s  of one shape and type; s is the average: ema_decay * s + (1 - ema_decay) * var.
    step                one number, int64 or float32: the steps including this one.
    mode                1: weight decay apart from the gradient (AdamW); 0: added to it (Adam).
    """
    if mode not in (0, 1):
        raise ValueError(f"npu_apply_fused_ema_adamw: mode is {mode!r}, wanted 0 (Adam) or 1 (AdamW)")
    update = torch._fused_adamw_ if mode == 1 else torch._fused_adam_
    steps = step.reshape(()).to(torch.float32)
    if not bias_correction:
        steps = torch.full_like(steps, _NO_CORRECTION)
    update(
        [var], [grad], [m], [v], [], [steps], lr=lr, beta1=beta1, beta2=beta2, weight_decay=weight_decay, eps=eps,
        amsgrad=False, maximize=False,
    )  # fmt: skip
    s.lerp_(var, 1.0 - ema_decay)
    return [var, m, v, s]
