# SPDX-License-Identifier: Apache-2.0
"""AdamW that keeps a moving average of each parameter, under the names that other projects import."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from mindspeed.ops.fused_ema_adam import FusedEmaAdam
from mindspeed.ops.npu_apply_fused_ema_adamw import npu_apply_fused_ema_adamw

__all__ = ["FusedEmaAdamW", "fused_ema_adamw"]


def fused_ema_adamw(
    grad: Sequence[Tensor],
    var: Sequence[Tensor],
    m: Sequence[Tensor],
    v: Sequence[Tensor],
    s: Sequence[Tensor],
    *rest: Any,
    **more: Any,
) -> None:
    """npu_apply_fused_ema_adamw() for each of several tensors."""
    for tensors in zip(grad, (parameter.data for parameter in var), m, v, s, strict=True):
        npu_apply_fused_ema_adamw(*tensors, *rest, **more)


class FusedEmaAdamW(FusedEmaAdam):
    """use_num_updates: the first steps count for more in the average, of which the n-th keeps (1 + n) / (10 + n) at most."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        eps: float = 1e-8,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 1e-2,
        ema_decay: float = 0.9999,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        use_num_updates: bool = True,
        bias_correction: bool = True,
        adam_w_mode: bool = True,
        set_grad_none: bool = True,
    ) -> None:
        if amsgrad or maximize:
            raise RuntimeError("FusedEmaAdamW: amsgrad and maximize are not supported; leave them out")
        for name, value in (("lr", lr), ("eps", eps), ("weight_decay", weight_decay)):
            if value < 0:
                raise ValueError(f"FusedEmaAdamW: {name} is {value}, wanted 0 or more")
        for number, beta in enumerate(betas):
            if not 0 <= beta < 1:
                raise ValueError(f"FusedEmaAdamW: betas[{number}] is {beta}, wanted 0 or more, below 1")
        super().__init__(
            params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, ema_decay=ema_decay,
            bias_correction=bias_correction, adam_w_mode=adam_w_mode,
        )  # fmt: skip
        self.set_grad_none = set_grad_none
        self.num_updates = 0 if use_num_updates else -1
        self._stored: list[list[Tensor]] = []

    def zero_grad(self, set_to_none: bool | None = None) -> None:
        super().zero_grad(self.set_grad_none if set_to_none is None else set_to_none)

    def _decay(self) -> float:
        if self.num_updates < 0:
            return self.ema_decay
        self.num_updates += 1
        return min(self.ema_decay, (1 + self.num_updates) / (10 + self.num_updates))

    @torch.no_grad()
    def copy_to(self) -> None:
        """Parameters become their averages."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if "ema_params" in self.state[parameter]:
                    parameter.copy_(self.state[parameter]["ema_params"])

    def store(self, parameters: Iterable[dict[str, Any]]) -> None:
        """Copies of the parameters of groups, in host memory, for restore()."""
        self._stored = [[p.detach().cpu().clone() for p in group["params"]] for group in parameters]

    @torch.no_grad()
    def restore(self, parameters: Iterable[dict[str, Any]]) -> None:
        """What store() has kept, once."""
        for kept, group in zip(self._stored, parameters, strict=True):
            for copy, parameter in zip(kept, group["params"], strict=True):
                parameter.copy_(copy)
        self._stored = []
