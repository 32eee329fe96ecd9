# SPDX-License-Identifier: Apache-2.0
"""AdamW as fused operators, laid out as Megatron or as PyTorch has it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from mindspeed.ops.fused_adam import FusedAdam

__all__ = ["AdamW", "FusedTorchAdamW"]


class AdamW(FusedAdam):
    """The number of steps is kept in the parameter group, as Megatron expects of Apex."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        if amsgrad or maximize:
            raise ValueError("AdamW: amsgrad and maximize are not supported; FusedTorchAdamW has them")
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)


class FusedTorchAdamW(torch.optim.AdamW):
    """PyTorch's, always the fused one."""

    def __init__(self, params: Iterable[Any], *args: Any, **kwargs: Any) -> None:
        for name in ("foreach", "capturable", "differentiable"):
            kwargs[name] = False
        super().__init__(params, *args, **{**kwargs, "fused": True})
