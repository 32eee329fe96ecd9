# SPDX-License-Identifier: Apache-2.0
"""Work on lists of quantised tensors: on the empty list there is nothing to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mindspeed.standins.refusal import RefusedError, missing_attribute, refused_function

from ..fp8 import ADVICE

__getattr__ = missing_attribute(__name__)

replace_raw_data = refused_function(f"{__name__}.replace_raw_data", ADVICE)


def cast_master_weights_to_fp8(
    model_weights: Sequence[Any], master_weights: Sequence[Any], *args: Any, **kwargs: Any
) -> None:
    """Megatron calls it at every step with the list of fp8 parameters."""
    if len(model_weights) > 0:
        raise RefusedError("cast_master_weights_to_fp8", ADVICE)


def post_all_gather_processing(model_weights: Sequence[Any], *args: Any, **kwargs: Any) -> None:
    """After the parameters are gathered."""
    if len(model_weights) > 0:
        raise RefusedError("post_all_gather_processing", ADVICE)
