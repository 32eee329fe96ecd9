# SPDX-License-Identifier: Apache-2.0
"""The switches of low-precision training: always off here, and turning them on is refused."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from mindspeed.standins.refusal import RefusedError, missing_attribute

from ..common.recipe import DelayedScaling, Recipe

__getattr__ = missing_attribute(__name__)

REASON = "There is no 8-bit or 4-bit floating-point arithmetic on this device"
ADVICE = "Train in bf16: leave out --fp8-format, --fp8-param-gather and --fp4-format"


def check_fp8_support() -> tuple[bool, str]:
    return False, REASON


def check_mxfp8_support() -> tuple[bool, str]:
    return False, REASON


def check_fp8_block_scaling_support() -> tuple[bool, str]:
    return False, REASON


def check_nvfp4_support() -> tuple[bool, str]:
    return False, REASON


def get_default_fp8_recipe() -> Recipe:
    return DelayedScaling()


@contextlib.contextmanager
def fp8_autocast(
    enabled: bool = True,
    calibrating: bool = False,
    fp8_recipe: Recipe | None = None,
    fp8_group: Any = None,
    _graph: bool = False,
) -> Iterator[None]:
    """Nothing changes inside when it is off."""
    if enabled or calibrating:
        raise RefusedError("fp8_autocast(enabled=True)", ADVICE)
    yield


@contextlib.contextmanager
def fp8_model_init(
    enabled: bool = True, recipe: Recipe | None = None, preserve_high_precision_init_val: bool = False
) -> Iterator[None]:
    """Parameters keep their type when it is off."""
    if enabled:
        raise RefusedError("fp8_model_init(enabled=True)", ADVICE)
    yield


class FP8GlobalStateManager:
    """The state of a process: nothing is quantised."""

    HAS_FP8_PARAMETERS = False
    skip_fp8_weight_update_tensor: Any = None

    @classmethod
    def is_fp8_enabled(cls) -> bool:
        return False

    @classmethod
    def is_fp8_calibration(cls) -> bool:
        return False

    @classmethod
    def with_fp8_parameters(cls) -> bool:
        return False

    @classmethod
    def is_first_fp8_module(cls) -> bool:
        return False

    @classmethod
    def fp8_graph_capturing(cls) -> bool:
        return False

    @classmethod
    def get_fp8_recipe(cls) -> Recipe:
        return get_default_fp8_recipe()

    @classmethod
    def get_fp8_group(cls) -> Any:
        return None

    @classmethod
    def reset(cls) -> None:
        """Nothing to forget."""

    @classmethod
    def reduce_and_update_fp8_tensors(cls, forward: bool = True) -> None:
        """No tensor has a scale."""

    @classmethod
    def set_skip_fp8_weight_update_tensor(cls, skip: bool) -> None:
        """No weight is quantised."""
