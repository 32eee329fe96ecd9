# SPDX-License-Identifier: Apache-2.0
"""Plans: which modules of a model are sharded how. Modules are named by patterns (utils.str_match)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

__all__ = [
    "CPPlanConfig", "EPPlanConfig", "FSDPPlanConfig", "ParallelEngineConfig", "QuantizeConfig", "TPPlanConfig",
]  # fmt: skip

# Of fully_shard, what a pattern of apply_modules may set.
UNIT_OPTIONS = ("reshard_after_forward", "shard_placement_fn", "mp_policy", "offload_policy")
DISPATCHERS = ("eager", "fused")
EXPERTS = "quantize.moe.mx"
CONVERTERS = ("quantize.linear.mx", EXPERTS)
Patterns = list[str] | None


@dataclass
class FSDPPlanConfig:
    ignored_modules: Patterns = None  # left whole on every rank, and their gradients are not summed
    apply_modules: dict[str, dict[str, Any]] | None = None  # units, with options of fully_shard

    param_dtype: torch.dtype | str | None = None
    reduce_dtype: torch.dtype | str | None = None
    output_dtype: torch.dtype | str | None = None
    cast_forward_inputs: bool = True

    num_to_forward_prefetch: int | None = 0
    num_to_backward_prefetch: int | None = 0


@dataclass
class TPPlanConfig:
    colwise_parallel: Patterns = None
    rowwise_parallel: Patterns = None
    sequence_parallel: Patterns = None  # norms that each rank computes for a part of the sequence


@dataclass
class CPPlanConfig:
    """Nothing to choose: context_parallel_size ranks are a ring, ulysses_parallel_size exchange heads."""


@dataclass
class EPPlanConfig:
    apply_modules: Patterns = None
    dispatcher: Literal["eager", "fused"] | Callable[..., Any] | None = None
    apply_efsdp_modules: Patterns = None  # experts, or modules that contain them
    _gradient_divide_factor: float | None = None


@dataclass
class QuantizeConfig:
    recipe_name: str | None = None
    apply_modules: list[str] = field(default_factory=list)
    ignored_modules: list[str] = field(default_factory=list)
    quant_converters: list[str] = field(default_factory=list)
    extra_args: dict[str, Any] = field(default_factory=dict)
    enable_fsdp_low_precision_all_gather: bool = True
    # Whether a unit that is gathered twice gets what the product at hand wants, or what both want.
    fsdp_low_precision_all_gather_mode: Literal["on-demand", "all"] = "on-demand"

    def get_key_dtype(self, key: str) -> torch.dtype:
        """What "inputs", "weight" or "grads" become."""
        from mindspeed.fsdp.quantization.config import QuantRecipe

        return QuantRecipe.from_recipe_name(str(self.recipe_name))().get_key_dtype(key)


@dataclass
class ParallelEngineConfig:
    """Sizes of the groups of ranks, and a plan for each; None is a plan of nothing. Ranks that are left over hold the same shards (data_parallel_size)."""

    data_parallel_size: int = 1

    fully_shard_parallel_size: int = 1
    fsdp_plan: FSDPPlanConfig = None  # type: ignore[assignment]

    tensor_parallel_size: int = 1
    tp_plan: TPPlanConfig = None  # type: ignore[assignment]

    context_parallel_size: int = 1
    ulysses_parallel_size: int = 1

    expert_parallel_size: int = 1
    expert_fully_shard_parallel_size: int = 1
    expert_data_parallel_size: int = 1
    ep_plan: EPPlanConfig = None  # type: ignore[assignment]

    recompute: bool = False
    recompute_plan: list[str] = None  # type: ignore[assignment]

    quantization_plan: QuantizeConfig = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self._check_sizes()
        self._fill_tp()
        self._fill_ep()
        self.recompute_plan = _patterns("recompute_plan", self.recompute_plan)
        if self.recompute and not self.recompute_plan:
            raise ValueError(
                "recompute is True, but recompute_plan names no modules; give patterns of their names"
            )
        self._fill_quantization()
        self._fill_fsdp()

    def _check_sizes(self) -> None:
        for name, value in vars(self).items():
            if name.endswith("_size") and (
                not isinstance(value, int) or isinstance(value, bool) or value < 1
            ):
                raise ValueError(f"{name} is {value!r}, wanted a number of ranks, 1 or more")

    def _fill_tp(self) -> None:
        plan = self.tp_plan = self.tp_plan or TPPlanConfig()
        for name in ("colwise_parallel", "rowwise_parallel", "sequence_parallel"):
            setattr(plan, name, _patterns(f"tp_plan.{name}", getattr(plan, name)))
        if self.tensor_parallel_size > 1 and not plan.colwise_parallel and not plan.rowwise_parallel:
            raise ValueError(
                f"tensor_parallel_size is {self.tensor_parallel_size}, but tp_plan names no modules; give "
                "colwise_parallel and rowwise_parallel"
            )

    def _fill_ep(self) -> None:
        plan = self.ep_plan = self.ep_plan or EPPlanConfig()
        plan.apply_modules = _patterns("ep_plan.apply_modules", plan.apply_modules)
        if plan.dispatcher is None:
            plan.dispatcher = "eager"
        if not callable(plan.dispatcher) and plan.dispatcher not in DISPATCHERS:
            raise ValueError(
                f"ep_plan.dispatcher is {plan.dispatcher!r}; there are {', '.join(DISPATCHERS)}, or give a function"
            )
        if self.expert_parallel_size > 1 and not plan.apply_modules:
            raise ValueError(
                f"expert_parallel_size is {self.expert_parallel_size}, but ep_plan.apply_modules names no experts"
            )
        if plan.apply_efsdp_modules is None:
            plan.apply_efsdp_modules = list(plan.apply_modules)
        plan.apply_efsdp_modules = _patterns("ep_plan.apply_efsdp_modules", plan.apply_efsdp_modules)

    def _fill_quantization(self) -> None:
        plan = self.quantization_plan = self.quantization_plan or QuantizeConfig()
        for name in ("apply_modules", "ignored_modules", "quant_converters"):
            setattr(plan, name, _patterns(f"quantization_plan.{name}", getattr(plan, name)))
        if not plan.recipe_name:
            return
        plan.get_key_dtype("weight")  # a name that there is
        for name in plan.quant_converters:
            if name not in CONVERTERS:
                raise ValueError(
                    f"quantization_plan.quant_converters has {name!r}: there are {' and '.join(CONVERTERS)}"
                )
        if not plan.quant_converters or not plan.apply_modules:
            raise ValueError(
                f"quantization_plan.recipe_name is {plan.recipe_name!r}, but nothing is quantised: give quant_converters "
                f"({', '.join(CONVERTERS)}) and apply_modules, patterns of layers"
            )
        modes = ("on-demand", "all")
        if plan.fsdp_low_precision_all_gather_mode not in modes:
            raise ValueError(
                f"quantization_plan.fsdp_low_precision_all_gather_mode is {plan.fsdp_low_precision_all_gather_mode!r}, wanted "
                f"{' or '.join(modes)}"
            )
        if EXPERTS in plan.quant_converters and callable(self.ep_plan.dispatcher):
            raise ValueError(
                f"quantization_plan.quant_converters has {EXPERTS!r}, and ep_plan.dispatcher is a function, which multiplies itself; "
                'take "eager" or "fused"'
            )
        if self.tensor_parallel_size > 1:
            raise ValueError(
                "quantization_plan.recipe_name with tensor_parallel_size above 1: layers that are cut over ranks are not "
                "quantised; leave one of the two out"
            )

    def _fill_fsdp(self) -> None:
        plan = self.fsdp_plan = self.fsdp_plan or FSDPPlanConfig()
        plan.ignored_modules = _patterns("fsdp_plan.ignored_modules", plan.ignored_modules)
        plan.apply_modules = {} if plan.apply_modules is None else plan.apply_modules
        if not isinstance(plan.apply_modules, dict):
            raise TypeError(
                f"fsdp_plan.apply_modules is {plan.apply_modules!r}, wanted a dictionary: pattern -> options of fully_shard"
            )
        for pattern, options in plan.apply_modules.items():
            for name in options or {}:
                if name not in UNIT_OPTIONS:
                    raise ValueError(
                        f"fsdp_plan.apply_modules[{pattern!r}] sets {name}; there are {', '.join(UNIT_OPTIONS)}"
                    )


def _patterns(name: str, given: Any) -> list[str]:
    if given is None:
        return []
    if isinstance(given, str) or not all(isinstance(pattern, str) for pattern in given):
        raise TypeError(f"{name} is {given!r}, wanted a list of patterns of module names")
    return list(given)
