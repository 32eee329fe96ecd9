# SPDX-License-Identifier: Apache-2.0
"""What is read from a checkpoint goes into the shards of PyTorch's fully_shard, with the optimizer's steps, scales and groups.

Megatron takes it that reading fills them, and leaves out the rest.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from mindspeed.adaptor.patching import Patch


def wholly(load: Callable[..., Any]) -> Callable[..., Any]:
    """load_checkpoint, which takes for loaded whatever has shards: steps and scales, and what was read into other memory, are not."""

    @functools.wraps(load)
    def loaded(*args: Any, **kwargs: Any) -> Any:
        kwargs.pop("skip_load_to_model_and_opt", None)
        return load(*args, **kwargs)

    return loaded


def _copy(target: Any, source: Any) -> None:
    part = getattr(target, "_local_tensor", target)
    if isinstance(part, torch.Tensor) and isinstance(source, torch.Tensor) and part is not source:
        with torch.no_grad():
            part.copy_(getattr(source, "_local_tensor", source))


def into_shards(load: Callable[..., Any]) -> Callable[..., Any]:
    """TorchFullyShardedDataParallel.load_state_dict"""

    @functools.wraps(load)
    def loaded(self: Any, state_dict: dict[str, Any], strict: bool = True) -> None:
        own = self.module.state_dict(keep_vars=True)
        missing = [
            name for name, value in own.items() if isinstance(value, torch.Tensor) and name not in state_dict
        ]
        if missing and strict:
            raise RuntimeError(f"fully_shard: the checkpoint has no {', '.join(missing)}")
        for name, value in own.items():
            _copy(value, state_dict.get(name))

    return loaded


def into_states(load: Callable[..., Any]) -> Callable[..., Any]:
    """load_state_dict of Megatron's optimizers, for states of shards: they stay, and get the values."""

    @functools.wraps(load)
    def loaded(self: Any, state_dict: dict[str, Any]) -> None:
        if not any(
            hasattr(tensor, "device_mesh")
            for group in self.optimizer.param_groups
            for tensor in group["params"]
        ):
            load(self, state_dict)
            return
        # In float32 it is all that there is; with other types there are main parameters and the scaler beside it.
        given, own = state_dict.get("optimizer", state_dict), self.optimizer.state_dict()
        step = given["state"].pop("common_step", None)
        for number, states in own["state"].items():
            for name, value in states.items():
                _copy(value, given["state"][number].get(name))
        own["param_groups"] = [
            saved | {"params": group["params"]}
            for saved, group in zip(given["param_groups"], own["param_groups"], strict=True)
        ]
        if step is not None:
            self._restore_common_per_param_step(own, step)
        self.optimizer.load_state_dict(own)
        if getattr(self, "grad_scaler", None) and "grad_scaler" in state_dict:
            self.grad_scaler.load_state_dict(state_dict["grad_scaler"])
        saved_groups = state_dict.get("fp32_from_fp16_params", ())
        for group, saved in zip(getattr(self, "fp32_from_float16_groups", ()), saved_groups, strict=False):
            for main, value in zip(group, saved, strict=True):
                _copy(main, value)

    return loaded


def patches_of(wrapper: str) -> tuple[Patch, ...]:
    optimizer = "megatron.core.optimizer.optimizer"
    return (
        Patch("megatron.training.training:load_checkpoint", wholly, wraps=True, requires="megatron.training"),
        Patch(f"{wrapper}.load_state_dict", into_shards, wraps=True),
        Patch(f"{optimizer}:Float16OptimizerWithFloat16Params.load_state_dict", into_states, wraps=True),
        Patch(f"{optimizer}:FP32Optimizer.load_state_dict", into_states, wraps=True),
    )
