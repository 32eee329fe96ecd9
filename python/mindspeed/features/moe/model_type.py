# SPDX-License-Identifier: Apache-2.0
"""Which implementation of experts a command line means: Megatron's, the only one that there is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mindspeed.adaptor import Feature, Flag, Level


def check(args: Any) -> Iterator[str]:
    if args.moe_model_type != "megatron_moe":
        yield (
            f"--moe-model-type {args.moe_model_type} is an implementation of the original for an earlier Megatron, which does "
            "not exist here; give megatron_moe, or leave the flag out"
        )


FEATURE = Feature(
    name="moe-model-type",
    level=Level.COMPATIBILITY,
    flags=(
        Flag(
            "--moe-model-type",
            "The implementation of experts; only megatron_moe exists here.",
            type=str,
            choices=("megatron_moe", "deepspeed_moe"),
        ),
    ),
    check=check,
)
