# SPDX-License-Identifier: Apache-2.0
"""Tokens of some experts travel while products of others are computed; those of one expert are cut into parts.

Every expert of a rank, or part of its tokens, has messages of its own to the expert and back. In the backward pass the messages of a part
are started as soon as its gradients are there. For --moe-model-type deepspeed_moe, where all messages have one size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mindspeed.adaptor import Feature, Flag, Level, Need
from mindspeed.features.moe import model_type


def check(args: Any) -> Iterator[str]:
    if args.pipe_experts_multi_data < 1:
        yield f"--pipe-experts-multi-data is {args.pipe_experts_multi_data}, wanted 1 or more"
    if args.pipe_experts_multi_stream and not getattr(args, "sequence_parallel", False):
        yield (
            "--pipe-experts-multi-stream takes messages between slices of an expert to a stream of their own, and there are none; "
            "give --sequence-parallel, or leave it out"
        )


FEATURE = Feature(
    name="use-pipe-experts",
    level=Level.ACCELERATION,
    until="0.13",  # as deepspeed_moe
    flags=(
        Flag("--use-pipe-experts", "Tokens of experts travel while products of other experts are computed."),
        Flag(
            "--pipe-experts-multi-data",
            "Cut each expert's tokens into so many parts, which travel by themselves.",
            type=int,
            default=1,
            metavar="N",
        ),
        Flag(
            "--pipe-experts-multi-stream",
            "Messages between slices of an expert have a stream of their own beside those between experts.",
        ),
    ),
    needs=(
        Need(
            flag=f"--moe-model-type {model_type.KIND}",
            why="its messages have one size",
            holds=model_type.is_on,
        ),
    ),
    check=check,
)
