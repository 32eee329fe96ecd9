# SPDX-License-Identifier: Apache-2.0
"""What the layers have in common: groups, initialisation of parameters, extra state, delayed weight gradients."""

from __future__ import annotations

import contextlib
import enum
import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from mindspeed.adaptor import session
from mindspeed.ops.fp8_linear import fp8_linear
from mindspeed.ops.fp8_products import Scheme
from mindspeed.ops.fp8_weights import Reused
from mindspeed.ops.parallel_linear import Plan, linear
from mindspeed.standins.refusal import missing_attribute, refused_function

from ...common.recipe import DelayedScaling
from ..fp8 import FP8GlobalStateManager, Parameters
from ..tensor import QuantizedTensor
from ._schemes import make_scheme, multiplies_exactly, quantised_weight

__getattr__ = missing_attribute(__name__)

_OVERLAP = "Leave out --tp-comm-overlap"
initialize_ub = refused_function(f"{__name__}.initialize_ub", _OVERLAP)
destroy_ub = refused_function(f"{__name__}.destroy_ub", _OVERLAP)

Initialiser = Callable[[torch.Tensor], Any]


class ParameterInit(NamedTuple):
    """How a parameter gets its values; fp8_meta_index, the place of its scales, is None for what stays in more bits."""

    init_fn: Initialiser | None
    get_rng_state_tracker: Callable[[], Any] | None
    fp8_meta_index: int | None


class UserBufferQuantizationMode(enum.Enum):
    """What would be sent through overlapped buffers."""

    NONE = "none"
    FP8 = "fp8"


def get_workspace() -> None:
    """cuBLAS wants scratch memory; the operators here bring their own."""


@functools.cache
def _zeros(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    return torch.zeros(shape, dtype=dtype, device=torch.accelerator.current_accelerator() or "cpu")


def get_dummy_wgrad(shape: Sequence[int], dtype: torch.dtype, zero: bool = False) -> torch.Tensor:
    """A gradient for code that only asks whether there is one (the true one is in main_grad); one tensor serves all."""
    dummy = _zeros(tuple(shape), dtype).detach()
    return dummy.zero_() if zero else dummy


def default_init_method(weight: torch.Tensor) -> None:
    """Transformer Engine's own, where the caller names none."""
    torch.nn.init.normal_(weight, mean=0.0, std=0.023)


def group_size(group: Any) -> int:
    return 1 if group is None else torch.distributed.get_world_size(group)


class TransformerEngineBaseModule(torch.nn.Module):
    """Base of the layers with weights."""

    def __init__(self) -> None:
        super().__init__()
        self.name: str | None = None
        self.tp_group: Any = None
        self.tp_size = 1
        self.sequence_parallel = False
        self.fp8 = False
        self.fp8_calibration = False
        self.fp8_initialized = False
        self._parameters_in_fp8 = FP8GlobalStateManager.parameters
        self.primary_weights_in_fp8 = self._parameters_in_fp8 is not None
        self.fp8_meta: dict[str, Any] = {
            "fp8_checkpoint": False,
            "fp8_group": None,
            "recipe": DelayedScaling(),
            "num_gemms": 1,
        }
        self._initialisers: dict[str, Initialiser] = {}
        self.get_rng_state_tracker: Callable[[], Any] | None = None
        self.rng_tracker_name: str | None = None
        self._delayed: list[Callable[[], None]] | None = None
        self._schemes: dict[tuple[Any, int], Scheme] = {}
        self._reused: dict[int, Reused] = {}
        self._wgrad_hooks: list[Callable[[], None]] = []

    def set_tensor_parallel_group(self, tp_group: Any) -> None:
        """Megatron calls it when the groups come to be after the layer."""
        self.tp_group = tp_group

    def set_up_parallel(self, tp_group: Any, tp_size: int, sequence_parallel: bool) -> None:
        """The group decides its size; the size alone stands for a group that comes later."""
        self.tp_size = tp_size if tp_group is None else group_size(tp_group)
        self.set_tensor_parallel_group(tp_group)
        self.sequence_parallel = self.tp_size > 1 and sequence_parallel

    def add_parameter(
        self, name: str, shape: tuple[int, ...], dtype: torch.dtype, device: Any, initialise: Initialiser
    ) -> None:
        """An empty parameter whose values reset_parameters() gives."""
        parameter = torch.nn.Parameter(torch.empty(shape, dtype=dtype, device=device))
        self.register_parameter(name, parameter)
        self._initialisers[name] = initialise

    @property
    def param_init_meta(self) -> dict[str, ParameterInit]:
        """Of each parameter, as FSDP over layers on the meta device asks for it. A product has three scales: of its input,
        of its weight, of its result."""
        found, products = {}, 0
        for name, parameter in self.named_parameters(recurse=False):
            index = 3 * products + 1 if parameter.dim() == 2 else None
            products += index is not None
            found[name] = ParameterInit(self._initialisers.get(name), self.get_rng_state_tracker, index)
        return found

    def reset_parameters(self, defer_init: bool = False) -> None:
        """Give every parameter its values; one on the meta device gets memory first."""
        for name, initialise in self._initialisers.items():
            if defer_init:
                continue
            parameter = getattr(self, name)
            if parameter is None:
                continue
            if parameter.is_meta:
                device = torch.accelerator.current_accelerator() or "cpu"
                parameter = torch.nn.Parameter(torch.empty_like(parameter, device=device))
                setattr(self, name, parameter)
            with torch.no_grad(), self._random_numbers():
                initialise(parameter)
            if self._parameters_in_fp8 is not None and parameter.dim() == 2:
                self._quantise(name, parameter, self._parameters_in_fp8)
        self.mark_parameters()

    def _quantise(self, name: str, parameter: torch.nn.Parameter, wanted: Parameters) -> None:
        """Weights; biases and norms stay as they are."""
        if isinstance(parameter, QuantizedTensor):
            return
        made: Any = torch.nn.Parameter(quantised_weight(parameter.detach(), wanted.recipe))
        if wanted.keeps_values:
            kept = [parameter.detach().cpu()]
            made.get_high_precision_init_val = lambda: kept[0] if kept else None
            made.clear_high_precision_init_val = kept.clear
        setattr(self, name, made)

    def mark_parameters(self) -> None:
        """Attributes by which Megatron knows a slice from a whole parameter."""

    def _random_numbers(self) -> Any:
        if self.get_rng_state_tracker is None:
            return contextlib.nullcontext()
        tracker = self.get_rng_state_tracker()
        return tracker.fork(self.rng_tracker_name) if self.rng_tracker_name else tracker.fork()

    def multiply(
        self,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        plan: Plan,
        dtype: torch.dtype,
        number: int = 0,
        is_first_microbatch: bool | None = None,
    ) -> torch.Tensor:
        """x w^T + b as the fp8_autocast around says. Each of a layer's products has scales of its own. What has no
        rows has no largest value."""
        if not FP8GlobalStateManager.is_fp8_enabled() or x.numel() == 0:
            return linear(x, weight, bias, plan, dtype)
        recipe = FP8GlobalStateManager.get_fp8_recipe()
        key = (type(recipe), number)
        if key not in self._schemes:
            self._schemes[key] = make_scheme(recipe, FP8GlobalStateManager.get_fp8_group())
        held = self._held(weight, number, is_first_microbatch)
        return fp8_linear(
            x.to(dtype), weight, bias, plan, self._schemes[key], multiplies_exactly(recipe), held
        )

    def _held(self, weight: torch.Tensor, number: int, is_first_microbatch: bool | None) -> Reused | None:
        """What was quantised in the first micro-batch of the step, where --fp8-reuse-quantized-weight keeps it."""
        if is_first_microbatch is None or not session.is_on("fp8-reuse-quantized-weight"):
            return None
        if is_first_microbatch or number not in self._reused:
            self._reused[number] = Reused(weight)
        return self._reused[number]

    def init_fp8_metadata(self, num_gemms: int = 1) -> None:
        """Scales come with the first product."""
        self.fp8_meta["num_gemms"] = num_gemms

    def get_extra_state(self) -> torch.Tensor:
        """What Transformer Engine saves for a layer without fp8."""
        return torch.empty(0, dtype=torch.uint8)

    def set_extra_state(self, state: Any) -> None:
        """A checkpoint of Transformer Engine's has the largest values of delayed scaling here; they begin anew."""
        if state is not None and not (isinstance(state, torch.Tensor) and state.numel() == 0):
            warnings.warn(
                "the checkpoint's fp8 scales are left out: largest values are found anew", stacklevel=2
            )

    def need_backward_dw(self) -> bool:
        return self._delayed is not None

    def register_wgrad_accumulation_and_reduce_hooks(self, hook: Callable[[], None]) -> None:
        """Called after the delayed weight gradients are there."""
        self._wgrad_hooks.append(hook)

    def backward_dw(self) -> None:
        """The weight gradients that backward left for later."""
        if self._delayed is None:
            return
        delayed, self._delayed = self._delayed, []
        for compute in delayed:
            compute()
        for hook in self._wgrad_hooks:
            hook()
