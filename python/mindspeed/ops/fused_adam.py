# SPDX-License-Identifier: Apache-2.0
"""Adam as one operator call for each group, under the signature and with the state of Transformer Engine and Apex.

The number of steps is kept in the parameter group, and the state of a parameter holds the two averages only: that is
what Megatron's distributed optimizer and its checkpoints count on (torch.optim.AdamW keeps a step per parameter). The
update is computed in float32. What is kept in another type (parameters, averages) is converted around it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

KEPT = (torch.float32, torch.bfloat16, torch.float16)


class FusedAdam(torch.optim.Optimizer):
    """Drop-in for the optimizer Megatron takes from Transformer Engine or Apex.

    master_weights        a float32 copy of each parameter is kept as its state "master_param" and updated.
    use_decoupled_grad    gradients are in parameter.decoupled_grad, their type need not be the parameter's.
    store_param_remainders would keep only the bits of the copy that the parameter lacks: the numbers are the same, the copy
                          is kept whole here.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        bias_correction: bool = True,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        adam_w_mode: bool = True,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        capturable: bool = False,
        master_weights: bool = False,
        use_decoupled_grad: bool = False,
        store_param_remainders: bool = False,
        exp_avg_dtype: torch.dtype = torch.float32,
        exp_avg_sq_dtype: torch.dtype = torch.float32,
        master_weight_dtype: torch.dtype = torch.float32,
        set_grad_none: bool | None = None,
    ) -> None:
        if amsgrad or not bias_correction:
            raise NotImplementedError("FusedAdam has no amsgrad, and always corrects the bias")
        for name, dtype in (("exp_avg", exp_avg_dtype), ("exp_avg_sq", exp_avg_sq_dtype)):
            if dtype not in KEPT:
                raise NotImplementedError(
                    f"FusedAdam({name}_dtype={dtype}): averages are kept as one of {KEPT}"
                )
        if master_weight_dtype is not torch.float32:
            raise NotImplementedError(
                f"FusedAdam(master_weight_dtype={master_weight_dtype}): float32 is kept"
            )
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "step": 0}
        super().__init__(params, defaults)
        self._update = torch._fused_adamw_ if adam_w_mode else torch._fused_adam_
        self.master_weights = master_weights
        self.use_decoupled_grad = use_decoupled_grad
        self.dtypes = {"exp_avg": exp_avg_dtype, "exp_avg_sq": exp_avg_sq_dtype}
        self._steps: dict[torch.device, torch.Tensor] = {}

    def zero_grad(self, set_to_none: bool = True) -> None:
        super().zero_grad(set_to_none)
        if self.use_decoupled_grad:
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.decoupled_grad = None

    def _gradient(self, parameter: torch.Tensor) -> torch.Tensor | None:
        return getattr(parameter, "decoupled_grad", None) if self.use_decoupled_grad else parameter.grad

    def _step_on(self, device: torch.device, step: int) -> torch.Tensor:
        """The step number where the operator reads it; one tensor per device serves all parameters."""
        if device not in self._steps:
            self._steps[device] = torch.zeros((), dtype=torch.float32, device=device)
        return self._steps[device].fill_(float(step))

    def initialize_state(self, parameter: torch.Tensor, store_param_remainders: bool = False) -> None:
        """Averages of zero, and the copy of the parameter."""
        state = self.state[parameter]
        for name, dtype in self.dtypes.items():
            state[name] = torch.zeros_like(parameter, dtype=dtype)
        if self.master_weights:
            state["master_param"] = parameter.detach().clone().float()

    def get_unscaled_state(self, parameter: torch.Tensor, state_name: str) -> torch.Tensor:
        """A state in float32."""
        state: torch.Tensor = self.state[parameter][state_name]
        return state.float()

    def set_scaled_state(
        self, parameter: torch.Tensor, state_name: str, unscaled_state: torch.Tensor
    ) -> None:
        """Put a float32 value into a state."""
        if len(self.state[parameter]) == 0:
            self.initialize_state(parameter)
        self.state[parameter][state_name].copy_(unscaled_state)

    def _working_copy(self, parameter: torch.Tensor) -> list[torch.Tensor]:
        """(weights, gradient, averages) in float32: the very tensors where they are of that type."""
        if len(self.state[parameter]) == 0:
            self.initialize_state(parameter)
        state = self.state[parameter]
        gradient = self._gradient(parameter)
        assert gradient is not None
        weights = state.get("master_param", parameter)
        return [x.float() for x in (weights, gradient, state["exp_avg"], state["exp_avg_sq"])]

    def _write_back(self, parameter: torch.Tensor, copies: list[torch.Tensor]) -> None:
        state = self.state[parameter]
        homes = (state.get("master_param", parameter), None, state["exp_avg"], state["exp_avg_sq"])
        for home, copy in zip(homes, copies, strict=True):
            if home is not None and home is not copy:
                home.copy_(copy)
        if "master_param" in state:
            parameter.copy_(copies[0])

    def _update_group(self, group: dict[str, Any]) -> None:
        group["step"] = group.get("step", 0) + 1
        parameters = [p for p in group["params"] if self._gradient(p) is not None and p.numel() > 0]
        if not parameters:
            return
        copies = [self._working_copy(p) for p in parameters]
        weights, gradients, first, second = (list(column) for column in zip(*copies, strict=True))
        self._update(
            weights,
            gradients,
            first,
            second,
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
        for parameter, copy in zip(parameters, copies, strict=True):
            self._write_back(parameter, copy)

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
