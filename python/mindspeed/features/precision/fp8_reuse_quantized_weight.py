# SPDX-License-Identifier: Apache-2.0
"""Weights are quantised once in a step, for all of its micro-batches.

Megatron tells each layer of Transformer Engine whether a micro-batch is the first of a step. The stand-in's layers then keep the numbers
that they multiplied by (standins/transformer_engine/pytorch/module/base.py asks whether this feature is on).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.flags import Flag
from mindspeed.adaptor.levels import Level

NAME = "fp8-reuse-quantized-weight"


def check(args: Any) -> Iterable[str]:
    if not (getattr(args, "fp8", None) or getattr(args, "fp8_format", None)):
        yield "without fp8 no weight is quantised; give --fp8-format, or leave out --fp8-reuse-quantized-weight"
    if getattr(args, "disable_parameter_transpose_cache", False):
        yield (
            "disable_parameter_transpose_cache hides from layers which micro-batch is the first; leave one of the two out"
        )


FEATURE = Feature(
    name=NAME,
    level=Level.ACCELERATION,
    flags=(
        Flag(
            "--fp8-reuse-quantized-weight",
            "Quantise weights for products in 8 bits once in a step, and keep the numbers over its micro-batches.",
        ),
    ),
    check=check,
)
