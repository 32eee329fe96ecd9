# SPDX-License-Identifier: Apache-2.0
"""The switches of low-precision training: inside fp8_autocast the layers multiply in 8 bits, by the recipe given."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from mindspeed.standins.refusal import RefusedError, missing_attribute

from ..common.recipe import DelayedScaling, Format, NVFP4BlockScaling, Recipe

__getattr__ = missing_attribute(__name__)


def check_fp8_support() -> tuple[bool, str]:
    return True, ""


def check_mxfp8_support() -> tuple[bool, str]:
    return True, ""


def check_fp8_block_scaling_support() -> tuple[bool, str]:
    return True, ""


def check_nvfp4_support() -> tuple[bool, str]:
    return False, "There is no training in 4 bits"


def get_default_fp8_recipe() -> Recipe:
    return DelayedScaling()


def check_recipe(recipe: Recipe) -> None:
    """Refuse what is not done, before a layer runs."""
    if isinstance(recipe, NVFP4BlockScaling):
        raise RefusedError("fp8_autocast(fp8_recipe=NVFP4BlockScaling())", "Leave out --fp4-format")
    if recipe.fp8_dpa or recipe.fp8_mha:
        raise RefusedError(
            "fp8_autocast with attention in fp8",
            "Leave out --fp8-dot-product-attention and --fp8-multi-head-attention",
        )
    if recipe.fp8_format is Format.HIF8 and not (recipe.float8_current_scaling() or recipe.delayed()):
        raise RefusedError(
            f"fp8_autocast(fp8_recipe={type(recipe).__name__}(Format.HIF8))",
            "hif8 has one scale for a tensor",
        )
    if recipe.fp8_format is Format.E5M2:
        raise RefusedError("fp8_autocast with Format.E5M2", "Take Format.HYBRID or Format.E4M3")


@contextlib.contextmanager
def fp8_autocast(
    enabled: bool = True,
    calibrating: bool = False,
    fp8_recipe: Recipe | None = None,
    fp8_group: Any = None,
    _graph: bool = False,
) -> Iterator[None]:
    """Layers inside multiply in 8 bits; nothing changes when it is off. The innermost one counts."""
    if calibrating:
        raise RefusedError("fp8_autocast(calibrating=True)", "Train in fp8, or in bf16")
    recipe = fp8_recipe or get_default_fp8_recipe()
    if enabled:
        check_recipe(recipe)
    state = FP8GlobalStateManager
    before = state.enabled, state.recipe, state.group
    state.enabled, state.recipe, state.group = enabled, recipe, fp8_group
    try:
        yield
    finally:
        state.enabled, state.recipe, state.group = before


@contextlib.contextmanager
def fp8_model_init(
    enabled: bool = True, recipe: Recipe | None = None, preserve_high_precision_init_val: bool = False
) -> Iterator[None]:
    """Weights of layers that are made inside are in 8 bits, by the recipe given. With `preserve_high_precision_init_val` a copy of
    what they were made of stays on the host, for the optimizer's main parameters."""
    parameters = None
    if enabled:
        recipe = recipe or get_default_fp8_recipe()
        check_recipe(recipe)
        if recipe.fp8_format is Format.HIF8:
            raise RefusedError(
                "fp8_model_init with Format.HIF8",
                "Leave out --fp8-param-gather with --fp8-format hif8, whose numbers no operator turns back",
            )
        parameters = Parameters(recipe, preserve_high_precision_init_val)
    before, FP8GlobalStateManager.parameters = FP8GlobalStateManager.parameters, parameters
    try:
        yield
    finally:
        FP8GlobalStateManager.parameters = before


class Parameters(NamedTuple):
    """What fp8_model_init was told."""

    recipe: Recipe
    keeps_values: bool


class FP8GlobalStateManager:
    """The state of a process: what the innermost fp8_autocast and fp8_model_init say."""

    enabled = False
    recipe: Recipe | None = None
    group: Any = None
    parameters: Parameters | None = None
    HAS_FP8_PARAMETERS = False
    skip_fp8_weight_update_tensor: Any = None

    @classmethod
    def is_fp8_enabled(cls) -> bool:
        return cls.enabled

    @classmethod
    def is_fp8_calibration(cls) -> bool:
        return False

    @classmethod
    def with_fp8_parameters(cls) -> bool:
        return cls.parameters is not None

    @classmethod
    def is_first_fp8_module(cls) -> bool:
        return False

    @classmethod
    def fp8_graph_capturing(cls) -> bool:
        return False

    @classmethod
    def get_fp8_recipe(cls) -> Recipe:
        return cls.recipe or get_default_fp8_recipe()

    @classmethod
    def get_fp8_group(cls) -> Any:
        return cls.group

    @classmethod
    def reset(cls) -> None:
        """As at the start."""
        cls.enabled, cls.recipe, cls.group, cls.parameters = False, None, None, None

    @classmethod
    def reduce_and_update_fp8_tensors(cls, forward: bool = True) -> None:
        """Layers keep their largest values themselves, reduced when they are found."""

    @classmethod
    def set_skip_fp8_weight_update_tensor(cls, skip: bool) -> None:
        """No weight is quantised."""
