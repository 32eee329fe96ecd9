# SPDX-License-Identifier: Apache-2.0
"""The distributed optimizer and the loading of checkpoints work without Transformer Engine.

At every step Megatron hands the optimizer the list of fp8 parameters; the fallback for a missing Transformer
Engine raises even if that list is empty, as it always is without one. Megatron-LM likewise asks for the version of
Transformer Engine before it looks for fp8 weights in a checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch


def skip_empty_list(quantize: Callable[..., None]) -> Callable[..., None]:
    """Call Megatron's function only if there is a parameter to quantise."""

    def quantize_param_shard(model_params: list[Any], *args: Any, **kwargs: Any) -> None:
        if len(model_params) > 0:
            quantize(model_params, *args, **kwargs)

    return quantize_param_shard


def nothing_to_fix(state_dict: dict[str, Any]) -> None:
    """In place of the repair of fp8 weights: a process without Transformer Engine has none."""


FEATURE = Feature(
    name="no-fp8-parameters",
    level=Level.COMPATIBILITY,
    patches=(
        Patch("megatron.core.fp8_utils:quantize_param_shard", skip_empty_list, wraps=True),
        Patch(
            "megatron.training.checkpointing:fix_fp8_params_lose_precision_when_loading_dist_ckpt",
            nothing_to_fix,
            requires="megatron.training",
            until="0.14.0",
        ),
    ),
)
