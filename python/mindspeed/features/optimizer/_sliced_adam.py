# SPDX-License-Identifier: Apache-2.0
"""Adam whose averages, or gradients, are kept in another form than float32: slices of a parameter are float32 for an update.

In checkpoints averages are float32, so they load into an Adam without this and back.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch

from mindspeed.adaptor import Conflict, Patch
from mindspeed.features.optimizer import _half_gradients
from mindspeed.ops.fused_adam import FusedAdam

Method = Callable[..., Any]
# Elements that are float32 at a time: they stay in a core's cache between the operators of a step.
SLICE = 1 << 18


def slices(numel: int, size: int, multiple: int) -> Iterator[tuple[int, int]]:
    """Beginnings and ends: multiples of `multiple`, and what is left over by itself."""
    whole = numel - numel % multiple
    yield from ((start, min(start + size, whole)) for start in range(0, whole, size))
    if whole < numel:
        yield whole, numel


class Kept:
    """A state in another form. It is not a torch.Tensor: whoever takes it for one is told so by Python."""

    def __init__(self, like: torch.Tensor) -> None:
        self.shape, self.device = like.shape, like.device

    def slices(self) -> Iterator[tuple[int, int]]:
        """What is read and written at a time."""
        raise NotImplementedError

    def read(self, start: int, stop: int) -> torch.Tensor:
        """Of a slice, float32 and flat."""
        raise NotImplementedError

    def write(self, start: int, stop: int, values: torch.Tensor) -> None:
        raise NotImplementedError

    @property
    def nbytes(self) -> int:
        """On the device."""
        raise NotImplementedError

    def decoded(self) -> torch.Tensor:
        """All of it, in the memory of the host."""
        whole = torch.empty(self.shape.numel(), dtype=torch.float32)
        for start, stop in self.slices():
            whole[start:stop] = self.read(start, stop).cpu()
        return whole.view(self.shape)

    def encode(self, values: torch.Tensor) -> None:
        """From a tensor of any device and float type."""
        if values.shape != self.shape:
            raise ValueError(f"values of shape {tuple(values.shape)} for a state of {tuple(self.shape)}")
        flat = values.detach().reshape(-1)
        for start, stop in self.slices():
            self.write(start, stop, flat[start:stop].to(self.device, torch.float32))


class SlicedAdam(FusedAdam):
    def _keeps(self, parameter: torch.Tensor) -> bool:
        """Whether this parameter's averages are in another form."""
        return False

    def _kept(self, name: str, parameter: torch.Tensor) -> Kept:
        """A new average, of zeros."""
        raise NotImplementedError

    # ---- states ----

    def initialize_state(self, parameter: torch.Tensor, store_param_remainders: bool = False) -> None:
        if not self._keeps(parameter):
            return super().initialize_state(parameter, store_param_remainders)
        for name in self.dtypes:
            self.state[parameter][name] = self._kept(name, parameter)

    def get_unscaled_state(self, parameter: torch.Tensor, state_name: str) -> torch.Tensor:
        state = self.state[parameter][state_name]
        return (
            state.decoded() if isinstance(state, Kept) else super().get_unscaled_state(parameter, state_name)
        )

    def set_scaled_state(
        self, parameter: torch.Tensor, state_name: str, unscaled_state: torch.Tensor
    ) -> None:
        if len(self.state[parameter]) == 0:
            self.initialize_state(parameter)
        state = self.state[parameter].get(state_name)
        if isinstance(state, Kept):
            state.encode(unscaled_state)
        else:
            super().set_scaled_state(parameter, state_name, unscaled_state)

    def _settle(self, parameter: torch.Tensor) -> None:
        """Megatron makes states itself before it loads a distributed checkpoint."""
        if len(self.state[parameter]) == 0:
            self.initialize_state(parameter)
        state = self.state[parameter]
        for name in self.dtypes if self._keeps(parameter) else ():
            if not isinstance(state[name], Kept):
                kept = self._kept(name, parameter)
                kept.encode(state[name])
                state[name] = kept

    # ---- checkpoints ----

    def state_dict(self) -> dict[str, Any]:
        """With float32 averages in the memory of the host."""
        found = super().state_dict()
        found["state"] = {
            key: {name: value.decoded() if isinstance(value, Kept) else value for name, value in state.items()}
            for key, state in found["state"].items()
        }  # fmt: skip
        return found

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """An average after the other, so that they are not on the device as float32 all at once."""
        given = state_dict["state"]
        bare = {
            key: {name: value for name, value in state.items() if name not in self.dtypes}
            for key, state in given.items()
        }
        super().load_state_dict({**state_dict, "state": bare})
        keys = [key for group in state_dict["param_groups"] for key in group["params"]]
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        for key, parameter in zip(keys, parameters, strict=True):
            for name in self.dtypes:
                if name in given.get(key, {}):
                    self.set_scaled_state(parameter, name, given[key][name])

    # ---- a step ----

    def _is_sliced(self, parameter: torch.Tensor) -> bool:
        if parameter.numel() == 0:
            return False
        half = _half_gradients.waiting(parameter) is not None
        return half or (self._keeps(parameter) and self._gradient(parameter) is not None)

    def _update_group(self, group: dict[str, Any]) -> None:
        parameters = group["params"]
        sliced = [parameter for parameter in parameters if self._is_sliced(parameter)]
        mine = {id(parameter) for parameter in sliced}
        group["params"] = [parameter for parameter in parameters if id(parameter) not in mine]
        try:
            super()._update_group(group)  # which counts the step
        finally:
            group["params"] = parameters
        for parameter in sliced:
            self._settle(parameter)
            kept = next((s for s in self.state[parameter].values() if isinstance(s, Kept)), None)
            for start, stop in kept.slices() if kept else slices(parameter.numel(), SLICE, 1):
                self._update_slice(group, parameter, start, stop)
            _half_gradients.over(parameter)

    def _update_slice(self, group: dict[str, Any], parameter: torch.Tensor, start: int, stop: int) -> None:
        def of(whole: torch.Tensor) -> torch.Tensor:
            return whole.detach().view(-1)[start:stop]

        states = [self.state[parameter][name] for name in self.dtypes]
        averages = [state.read(start, stop) if isinstance(state, Kept) else of(state) for state in states]
        weights = of(parameter).float()
        self._update(
            [weights],
            [self._part_of_gradient(parameter, start, stop)],
            *([average] for average in averages),
            [],
            [self._step_on(parameter.device, group["step"])],
            lr=float(group["lr"]),
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )
        if parameter.dtype is not torch.float32:
            of(parameter).copy_(weights)
        for state, average in zip(states, averages, strict=True):
            if isinstance(state, Kept):
                state.write(start, stop, average)

    def _part_of_gradient(self, parameter: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        half = _half_gradients.waiting(parameter)
        if half is not None:
            return half.part(start, stop).read()
        gradient = self._gradient(parameter)
        assert gradient is not None
        return gradient.view(-1)[start:stop].float()


# ---- patches ----


def _states_of(optimizer: Any, model_param: torch.Tensor) -> tuple[torch.Tensor, dict[str, Any]]:
    group, order = optimizer.model_param_group_index_map[model_param]
    main = optimizer.optimizer.param_groups[group]["params"][order]
    return main, optimizer.optimizer.state[main]


def _decoding(get: Method) -> Method:
    """Later releases leave out what is no tensor."""

    @functools.wraps(get)
    def get_states(self: Any, model_param: torch.Tensor) -> dict[str, Any]:
        tensors: dict[str, Any] = get(self, model_param)
        _, state = _states_of(self, model_param)
        return tensors | {name: t.decoded() for name, t in state.items() if isinstance(t, Kept)}

    return get_states


def _encoding(set_states: Method) -> Method:
    """Megatron copies into every state that there is; other forms are written after."""

    @functools.wraps(set_states)
    def set_and_encode(self: Any, model_param: torch.Tensor, tensors: dict[str, torch.Tensor]) -> None:
        main, state = _states_of(self, model_param)
        kept = {name: state.pop(name) for name, value in list(state.items()) if isinstance(value, Kept)}
        try:
            set_states(self, model_param, {n: t for n, t in tensors.items() if n not in kept})
        finally:
            state.update(kept)
        for name in kept:
            self.optimizer.set_scaled_state(main, name, tensors[name])

    return set_and_encode


_DISTRIBUTED = "megatron.core.optimizer.distrib_optimizer:DistributedOptimizer"
STATES = (
    Patch(f"{_DISTRIBUTED}._get_main_param_and_optimizer_states", _decoding, wraps=True),
    Patch(f"{_DISTRIBUTED}._set_main_param_and_optimizer_states", _encoding, wraps=True),
)
_OTHERS = {
    "use_precision_aware_optimizer": "which has types of its own for states and gradients",
    "optimizer_cpu_offload": "which brings an Adam of its own",
    "offload_optimizer_states": "which moves states that are tensors",
    "use_custom_fsdp": "which keeps states and gradients in buffers of its own",
    "use_megatron_fsdp": "which keeps states and gradients in buffers of its own",
    "use_torch_fsdp2": "whose states and gradients are spread in another way",
}


def unsupported(args: Any) -> Iterator[str]:
    """What has another Adam, a sentence each."""
    for name, why in _OTHERS.items():
        if getattr(args, name, False):
            flag = f"--{name.replace('_', '-')}"
            yield f"it does not work with {flag}, {why}; leave one of the two out"
    optimizer = getattr(args, "optimizer", "adam")
    if optimizer != "adam":
        yield f"it is for Adam, and --optimizer is {optimizer}; give --optimizer adam, or leave it out"


_SLICED = "its steps in slices need states and gradients that are float32 tensors"
CONFLICTS = (
    Conflict(feature="swap-optimizer", why=_SLICED),
    Conflict(feature="reuse-fp32-param", why=_SLICED),
    Conflict(feature="virtual-optimizer", why="both bring an Adam"),
    Conflict(feature="optimizer-selection", why="both bring an Adam"),
)
