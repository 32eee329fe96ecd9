# SPDX-License-Identifier: Apache-2.0
"""What a recipe of quantization_plan stands for: how numbers are scaled, and what they become."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import torch

__all__ = [
    "QuantRecipe",
    "ScalingGranularity",
    "ScalingGranularityEnum",
    "ScalingStrategyEnum",
    "recipe_register",
]


class ScalingStrategyEnum(Enum):
    """Where scales come from; products here take them from the numbers themselves (DYNAMIC)."""

    DYNAMIC = "dynamic"
    DELAYED = "delayed"
    TRAINABLE = "trainable"


class ScalingGranularityEnum(Enum):
    """What has a scale of its own; products here have MX: 32 numbers, with powers of two."""

    PER_TENSOR = "pertensor"
    PER_CHANNEL = "perchannel"
    PER_GROUP = "pergroup"
    PER_BLOCK = "perblock"
    MX = "mx"


# Of tokens, inputs and outputs.
_MX_BLOCKS = ([1, 1, 32], [1, 32, 32])


@dataclass
class ScalingGranularity:
    stype: ScalingGranularityEnum
    block_size: list[int] | None = None

    def __post_init__(self) -> None:
        if self.stype is ScalingGranularityEnum.MX and self.block_size not in _MX_BLOCKS:
            raise ValueError(
                f"Invalid block size {self.block_size} of MX: wanted {_MX_BLOCKS[0]} or {_MX_BLOCKS[1]}"
            )


@dataclass
class QuantRecipe:
    scaling_strategy: ScalingStrategyEnum
    scaling_granularity: ScalingGranularity
    inputs_dtype: torch.dtype
    weight_dtype: torch.dtype
    grads_dtype: torch.dtype

    @classmethod
    def from_recipe_name(cls, recipe_name: str) -> Callable[[], QuantRecipe]:
        """What makes the recipe."""
        if recipe_name not in _registry_quant_recipes:
            raise ValueError(
                f"Unknown recipe name {recipe_name!r}: there are {', '.join(_registry_quant_recipes)}"
            )
        return _registry_quant_recipes[recipe_name]

    def get_key_dtype(self, key: str) -> torch.dtype:
        """Of "inputs", "weight" or "grads"."""
        dtypes = {"inputs": self.inputs_dtype, "weight": self.weight_dtype, "grads": self.grads_dtype}
        if key not in dtypes:
            raise ValueError(f"Unknown key {key!r}: wanted {', '.join(dtypes)}")
        return dtypes[key]


_registry_quant_recipes: dict[str, Callable[[], QuantRecipe]] = {}
_dtype_mapping: dict[str, torch.dtype] = {
    "E4M3": torch.float8_e4m3fn,
    "E5M2": torch.float8_e5m2,
    "BF16": torch.bfloat16,
    "FP16": torch.float16,
}


def recipe_register(name: str) -> Callable[[Callable[[], QuantRecipe]], Callable[[], QuantRecipe]]:
    """Decorates a function that makes a recipe of that name."""

    def register(make: Callable[[], QuantRecipe]) -> Callable[[], QuantRecipe]:
        _registry_quant_recipes[name] = make
        return make

    return register


def _of_blocks(block_size: list[int]) -> QuantRecipe:
    e4m3 = _dtype_mapping["E4M3"]
    granularity = ScalingGranularity(ScalingGranularityEnum.MX, block_size)
    return QuantRecipe(ScalingStrategyEnum.DYNAMIC, granularity, e4m3, e4m3, e4m3)


@recipe_register("mxfp8")
def _mxfp8() -> QuantRecipe:
    """Scales of 32 numbers along what a product sums over; weights are quantised for each of their products."""
    return _of_blocks([1, 1, 32])


@recipe_register("mxfp8-32x32")
def _mxfp8_of_squares() -> QuantRecipe:
    """Weights have scales of squares of 32 by 32, so that one quantisation serves both products."""
    return _of_blocks([1, 32, 32])
