# SPDX-License-Identifier: Apache-2.0
"""Recipes of low-precision training: what fp8_autocast is told."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from mindspeed.standins.refusal import missing_attribute

__getattr__ = missing_attribute(__name__)


class Format(enum.Enum):
    """(largest forward value, largest backward value)"""

    E4M3 = (448.0, 448.0)
    E5M2 = (57344.0, 57344.0)
    HYBRID = (448.0, 57344.0)
    # hifloat8, with the ranges that MindSpeed gives it.
    HIF8 = (15.0, 224.0)


class Recipe:
    """What all recipes answer."""

    fp8_format: Format = Format.E4M3
    fp8_dpa: bool = False
    fp8_mha: bool = False

    def delayed(self) -> bool:
        return isinstance(self, DelayedScaling)

    def float8_current_scaling(self) -> bool:
        return isinstance(self, Float8CurrentScaling)

    def mxfp8(self) -> bool:
        return isinstance(self, MXFP8BlockScaling)

    def float8_block_scaling(self) -> bool:
        return isinstance(self, Float8BlockScaling)

    def nvfp4(self) -> bool:
        return isinstance(self, NVFP4BlockScaling)

    def custom(self) -> bool:
        return False


@dataclass
class DelayedScaling(Recipe):
    """Scales follow a history of largest values."""

    margin: int = 0
    interval: int = -1
    fp8_format: Format = Format.HYBRID
    amax_history_len: int = 1024
    amax_compute_algo: Any = "max"
    override_linear_precision: tuple[bool, bool, bool] = (False, False, False)
    scaling_factor_compute_algo: Any = None
    reduce_amax: bool = True
    fp8_dpa: bool = False
    fp8_mha: bool = False
    # Megatron hands over what it hands to every module.
    params_dtype: Any = None
    device: Any = None


@dataclass
class Float8CurrentScaling(Recipe):
    """Scales from the tensor itself."""

    fp8_format: Format = Format.HYBRID
    fp8_dpa: bool = False
    fp8_mha: bool = False


@dataclass
class MXFP8BlockScaling(Recipe):
    """One scale for 32 numbers."""

    margin: int = 0
    fp8_format: Format = Format.E4M3
    fp8_dpa: bool = False
    fp8_mha: bool = False


@dataclass
class MXFP832x32BlockScaling(MXFP8BlockScaling):
    """MindSpeed's: one scale for 32 by 32 numbers of a weight."""


@dataclass
class Float8BlockScaling(Recipe):
    """One scale for a tile."""

    fp8_format: Format = Format.E4M3
    fp8_dpa: bool = False
    fp8_mha: bool = False


@dataclass
class NVFP4BlockScaling(Recipe):
    """Four bits and two levels of scales."""

    fp8_dpa: bool = False
    fp8_mha: bool = False
