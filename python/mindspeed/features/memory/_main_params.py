# SPDX-License-Identifier: Apache-2.0
"""Patches of Megatron's optimizers that leave the main parameters to a SlicedStep (see _sliced_step.py)."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch

from mindspeed.adaptor import Patch
from mindspeed.features.memory._sliced_step import SlicedStep, Store, owner_of

_STEP = "_sliced_step"  # of Megatron's optimizer
_DISTRIBUTED = "megatron.core.optimizer.distrib_optimizer:DistributedOptimizer"
_PLAIN = "megatron.core.optimizer.optimizer:Float16OptimizerWithFloat16Params"

Make = Callable[[], tuple[Store, int]]
Method = Callable[..., Any]


def patches(make: Make, *, plain: bool) -> tuple[Patch, ...]:
    """For the distributed optimizer and, if wanted, the plain one. `make` gives a store and the number of slices."""
    found = [
        Patch(
            f"{_DISTRIBUTED}.__init__", functools.partial(_taking_over, make=make, pairs=_shards), wraps=True
        ),
        Patch(f"{_DISTRIBUTED}._get_main_param_and_optimizer_states", _with_values, wraps=True),
        Patch(f"{_DISTRIBUTED}._set_main_param_and_optimizer_states", _into_values, wraps=True),
        Patch(f"{_DISTRIBUTED}.load_parameter_state_from_dp_zero_legacy", _on_whole, wraps=True),
        Patch(
            "megatron.training.utils:calc_params_l2_norm",
            _norm_of_values,
            wraps=True,
            requires="megatron.training",
        ),
        *_common(_DISTRIBUTED),
    ]
    if plain:
        found += [
            Patch(
                f"{_PLAIN}.__init__",
                functools.partial(_taking_over, make=make, pairs=_parameters),
                wraps=True,
            ),
            Patch(f"{_PLAIN}.state_dict", _with_all_values, wraps=True),
            *_common(_PLAIN),
        ]
    return tuple(found)


def unsupported(args: Any) -> Iterator[str]:
    """What goes around the main parameters in another way, a sentence each."""
    others = {
        "use_precision_aware_optimizer": "--use-precision-aware-optimizer keeps the main parameters itself",
        "optimizer_cpu_offload": "--optimizer-cpu-offload keeps the main parameters itself",
        "offload_optimizer_states": "--offload-optimizer-states moves the same tensors",
        "use_custom_fsdp": "--use-custom-fsdp has no main parameters of this kind",
        "use_megatron_fsdp": "--use-megatron-fsdp has no main parameters of this kind",
        "use_torch_fsdp2": "--use-torch-fsdp2 has no main parameters of this kind",
        "qk_clip": "--qk-clip writes main parameters outside of the step",
        "fp8_param": "--fp8-param-gather has no half-precision parameters",
        "fp8_param_gather": "--fp8-param-gather has no half-precision parameters",
    }
    for name, sentence in others.items():
        if getattr(args, name, False):
            yield f"{sentence}; leave one of the two out"
    optimizer = getattr(args, "optimizer", "adam")
    if optimizer not in ("adam", "sgd"):
        yield (
            f"--optimizer {optimizer} looks at whole parameters, and a step in slices needs one that treats elements "
            "alike; give --optimizer adam"
        )


def _common(optimizer: str) -> tuple[Patch, ...]:
    return (
        Patch(f"{optimizer}._copy_main_params_to_model_params", _done_by_step, wraps=True),
        Patch(f"{optimizer}._copy_model_params_to_main_params", _on_whole, wraps=True),
        Patch(f"{optimizer}.load_state_dict", _loading, wraps=True),
    )


def _step_of(optimizer: Any) -> SlicedStep | None:
    return getattr(optimizer, _STEP, None)


def _shards(optimizer: Any) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    groups = zip(optimizer.shard_fp32_from_float16_groups, optimizer.shard_float16_groups, strict=True)
    for mains, models in groups:
        yield from zip(mains, (model.data.view(-1) for model in models), strict=True)


def _parameters(optimizer: Any) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for mains, models in zip(optimizer.fp32_from_float16_groups, optimizer.float16_groups, strict=True):
        yield from zip(mains, (model.data.view(-1) for model in models), strict=True)


def _taking_over(
    init: Method, *, make: Make, pairs: Callable[[Any], Iterator[tuple[torch.Tensor, torch.Tensor]]]
) -> Method:
    @functools.wraps(init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        if not self.is_stub_optimizer:
            store, slices = make()
            setattr(self, _STEP, SlicedStep(self.optimizer, pairs(self), store, slices))

    return __init__


def _with_values(get: Method) -> Method:
    """What goes into a checkpoint is a copy: an asynchronous writer may still read when the next step writes."""

    @functools.wraps(get)
    def get_states(self: Any, model_param: torch.Tensor) -> dict[str, torch.Tensor]:
        tensors = get(self, model_param)
        step = _step_of(self)
        if step is None:
            return tensors
        states = {name: tensor.clone() if tensor.is_cpu else tensor for name, tensor in tensors.items()}
        return states | {"param": step.read(tensors["param"])}

    return get_states


def _into_values(set_states: Method) -> Method:
    @functools.wraps(set_states)
    def set_in_whole(self: Any, model_param: torch.Tensor, tensors: dict[str, torch.Tensor]) -> None:
        step = _step_of(self)
        group, order = self.model_param_group_index_map[model_param]
        with (
            step.whole([self.optimizer.param_groups[group]["params"][order]])
            if step
            else contextlib.nullcontext()
        ):
            set_states(self, model_param, tensors)

    return set_in_whole


def _with_all_values(state_dict: Method) -> Method:
    @functools.wraps(state_dict)
    def state_with_values(self: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        state = state_dict(self, *args, **kwargs)
        step = _step_of(self)
        if step is not None:
            groups = state["fp32_from_fp16_params"]
            state["fp32_from_fp16_params"] = [[step.read(main) for main in group] for group in groups]
        return state

    return state_with_values


def _on_whole(method: Method) -> Method:
    @functools.wraps(method)
    def on_whole(self: Any, *args: Any, **kwargs: Any) -> Any:
        step = _step_of(self)
        with step.whole() if step else contextlib.nullcontext():
            return method(self, *args, **kwargs)

    return on_whole


def _loading(load: Method) -> Method:
    """The plain optimizer writes its main parameters here; both have new states after."""

    @functools.wraps(load)
    def load_state_dict(self: Any, state_dict: dict[str, Any]) -> None:
        step = _step_of(self)
        if step is None:
            return load(self, state_dict)
        with step.whole() if hasattr(self, "fp32_from_float16_groups") else contextlib.nullcontext():
            load(self, state_dict)
        step.settle()

    return load_state_dict


def _done_by_step(copy: Method) -> Method:
    @functools.wraps(copy)
    def copy_unless_done(self: Any) -> None:
        if _step_of(self) is None:
            copy(self)

    return copy_unless_done


def _norm_of_values(norm: Method) -> Method:
    """Megatron's norm of all parameters, for the log."""

    @functools.wraps(norm)
    def norm_of_values(model: Any, *args: Any, **kwargs: Any) -> Any:
        chunks = model if isinstance(model, list) else [model]
        mains = (
            getattr(parameter, "main_param", None) for chunk in chunks for parameter in chunk.parameters()
        )
        steps = {id(step): step for step in map(owner_of, mains) if step is not None}
        with contextlib.ExitStack() as stack:
            for step in steps.values():
                stack.enter_context(step.whole())
            return norm(model, *args, **kwargs)

    return norm_of_values
