# SPDX-License-Identifier: Apache-2.0
"""Adam with decoupled weight decay as one operator call per parameter, laid out as Megatron expects of Apex.

The number of steps is kept in the parameter group, and the state of a parameter holds the two averages only: that is
what Megatron's distributed optimizer and its checkpoints count on (torch.optim.AdamW keeps a step per parameter).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch


class FusedAdam(torch.optim.Optimizer):
    """Drop-in for the optimizer Megatron takes from Apex, as far as Megatron uses it."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "step": 0}
        super().__init__(params, defaults)
        self._steps: dict[torch.device, torch.Tensor] = {}

    def _step_on(self, device: torch.device, step: int) -> torch.Tensor:
        """The step number where the operator reads it; one tensor per device serves all parameters."""
        if device not in self._steps:
            self._steps[device] = torch.zeros((), dtype=torch.float32, device=device)
        return self._steps[device].fill_(float(step))

    def _state_of(self, parameter: torch.Tensor) -> dict[str, torch.Tensor]:
        state = self.state[parameter]
        if len(state) == 0:
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        return state

    def _update_group(self, group: dict[str, Any]) -> None:
        group["step"] = group.get("step", 0) + 1
        parameters = [p for p in group["params"] if p.grad is not None and p.numel() > 0]
        if not parameters:
            return
        states = [self._state_of(p) for p in parameters]
        torch._fused_adamw_(
            parameters,
            [p.grad for p in parameters],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [self._step_on(p.device, group["step"]) for p in parameters],
            lr=float(group["lr"]),
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._update_group(group)
        return loss
