# SPDX-License-Identifier: Apache-2.0
"""Adam that keeps a moving average of each parameter in its state "ema_params"."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from mindspeed.ops.fused_adam import FusedAdam

__all__ = ["FusedEmaAdam"]


class FusedEmaAdam(FusedAdam):
    """After each step: average = ema_decay * average + (1 - ema_decay) * parameter; it begins as the parameter."""

    def __init__(self, params: Iterable[Any], *args: Any, ema_decay: float = 0.9999, **kwargs: Any) -> None:
        if not 0.0 <= ema_decay <= 1.0:
            raise ValueError(f"FusedEmaAdam: ema_decay is {ema_decay}, wanted a number from 0 to 1")
        super().__init__(params, *args, **kwargs)
        self.ema_decay = ema_decay

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        else:
            loss = None
        moved = [p for group in self.param_groups for p in group["params"] if self._gradient(p) is not None]
        for parameter in moved:
            if len(self.state[parameter]) == 0:
                self.initialize_state(parameter)
            state = self.state[parameter]
            if "ema_params" not in state:
                state["ema_params"] = self._weights(parameter).float().clone()
        super().step()
        if moved:
            averages = [self.state[p]["ema_params"] for p in moved]
            torch._foreach_lerp_(averages, [self._weights(p).float() for p in moved], 1.0 - self._decay())
        return loss

    def _decay(self) -> float:
        """Of this step."""
        return self.ema_decay

    def _weights(self, parameter: torch.Tensor) -> torch.Tensor:
        """What is updated, in the most exact form that there is."""
        weights: torch.Tensor = self.state[parameter].get("master_param", parameter)
        return weights.detach()
