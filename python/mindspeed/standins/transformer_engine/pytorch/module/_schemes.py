# SPDX-License-Identifier: Apache-2.0
"""From Transformer Engine's recipes to the schemes that layers multiply by."""

from __future__ import annotations

from typing import Any

import torch

from mindspeed.ops import fp8_products, fp8_weights
from mindspeed.standins.refusal import RefusedError

from ...common.recipe import (
    DelayedScaling,
    Float8BlockScaling,
    Float8CurrentScaling,
    MXFP8BlockScaling,
    MXFP832x32BlockScaling,
    Recipe,
)
from ..tensor import QuantizedTensor
from ..tensor.float8_blockwise_tensor import Float8BlockwiseQTensor
from ..tensor.float8_tensor import Float8Tensor
from ..tensor.mxfp8_tensor import MXFP8Tensor


def make_scheme(recipe: Recipe, group: Any) -> fp8_products.Scheme:
    """`group`: ranks whose largest values count as one, for delayed scaling."""
    types = fp8_products.types_of(recipe.fp8_format.name.lower())
    if isinstance(recipe, DelayedScaling):
        return _delayed(recipe, types, group)
    if isinstance(recipe, Float8CurrentScaling):
        return fp8_products.PerTensor(types)
    if isinstance(recipe, MXFP832x32BlockScaling):
        return fp8_products.MXSquares(types)
    if isinstance(recipe, MXFP8BlockScaling):
        return fp8_products.MX(types)
    if isinstance(recipe, Float8BlockScaling):
        return fp8_products.Blockwise(types)
    raise RefusedError(f"the recipe {type(recipe).__name__}", "Take one of Transformer Engine's own")


def _delayed(recipe: DelayedScaling, types: fp8_products.Types, group: Any) -> fp8_products.Scheme:
    if (
        recipe.amax_compute_algo not in ("max", "most_recent")
        or recipe.scaling_factor_compute_algo is not None
    ):
        raise RefusedError(
            "DelayedScaling with functions of its own", 'amax_compute_algo is "max" or "most_recent"'
        )
    reduces = recipe.reduce_amax and group is not None and torch.distributed.get_world_size(group) > 1

    def reduce(largest: torch.Tensor) -> None:
        torch.distributed.all_reduce(largest, op=torch.distributed.ReduceOp.MAX, group=group)

    return fp8_products.Delayed(
        types,
        length=max(recipe.amax_history_len, 1),
        newest=recipe.amax_compute_algo == "most_recent",
        margin=recipe.margin,
        reduce=reduce if reduces else None,
    )


def make_form(recipe: Recipe) -> fp8_weights.Form:
    """How a weight is kept inside of fp8_model_init."""
    to = fp8_products.types_of(recipe.fp8_format.name.lower()).forward
    if isinstance(recipe, DelayedScaling):
        history = fp8_products.History(
            max(recipe.amax_history_len, 1), recipe.amax_compute_algo == "most_recent"
        )
        return fp8_weights.OneScale(to, history, recipe.margin)
    if isinstance(recipe, Float8CurrentScaling):
        return fp8_weights.OneScale(to)
    if isinstance(recipe, MXFP832x32BlockScaling):
        return fp8_weights.Squares(to)
    if isinstance(recipe, MXFP8BlockScaling):
        return fp8_weights.Groups(to)
    if isinstance(recipe, Float8BlockScaling):
        return fp8_weights.Tiles(to)
    raise RefusedError(
        f"weights of the recipe {type(recipe).__name__}", "Take one of Transformer Engine's own"
    )


def quantised_weight(values: torch.Tensor, recipe: Recipe) -> QuantizedTensor:
    kind: type[QuantizedTensor] = Float8Tensor
    if recipe.mxfp8():
        kind = MXFP8Tensor
    elif recipe.float8_block_scaling():
        kind = Float8BlockwiseQTensor
    return kind.of(values, make_form(recipe))


def multiplies_exactly(recipe: Recipe) -> bool:
    """Whether weight gradients are left in high precision; the other two products never are."""
    forward, of_input, of_weight = getattr(recipe, "override_linear_precision", (False, False, False))
    if forward or of_input:
        raise RefusedError("override_linear_precision of the output or the input's gradient", "Leave it out")
    return bool(of_weight)
