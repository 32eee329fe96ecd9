# SPDX-License-Identifier: Apache-2.0
"""Each bucket of parameters and gradients begins at a multiple of so many bytes, and so does each rank's share of it.

Megatron aligns the ends of buckets for the distributed optimizer, to 128 values and a multiple of the ranks. Collectives of
an NPU are quickest where each rank's part is aligned to 512 bytes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

from mindspeed.adaptor import Feature, Flag, Level, Need, Patch
from mindspeed.adaptor.session import current_arguments
from mindspeed.features.communication._shared_buckets import Starts, beginning_at

SMALLEST = 2  # bytes of a value of a buffer; values of four are aligned to twice as many bytes


def values(world: int) -> int:
    """Of a bucket so many, or a multiple, are aligned shares of `world` ranks."""
    align: int = current_arguments().param_and_grad_buffer_pad // SMALLEST
    return world * align


def shares_aligned(module: Any) -> Any:
    """The `math` of param_and_grad_buffer.py, which takes its buckets' divisor from lcm(ranks, values, ...)."""

    def lcm(world: int, *others: int) -> int:
        if Starts.now is not None:
            Starts.now.end_follows()
        return module.lcm(world, *others, values(world))

    def ceil(number: float) -> int:
        return module.ceil(number) if Starts.now is None else Starts.now.ceil(number)

    return SimpleNamespace(**{**vars(math), "lcm": lcm, "ceil": ceil})


def divisor_aligned(bucket_end_divisor: Callable[..., int]) -> Callable[..., int]:
    @functools.wraps(bucket_end_divisor)
    def aligned(data_parallel_world_size: int, *args: Any, **kwargs: Any) -> int:
        found = bucket_end_divisor(data_parallel_world_size, *args, **kwargs)
        return math.lcm(found, values(data_parallel_world_size))

    return aligned


def check(args: Any) -> Iterator[str]:
    size = args.param_and_grad_buffer_pad
    if size <= 0 or size % SMALLEST:
        yield f"--param-and-grad-buffer-pad is {size}: wanted an even number of bytes above 0, as 512"


FEATURE = Feature(
    name="param-and-grad-buffer-pad",
    level=Level.ACCELERATION,
    flags=(
        Flag(
            "--param-and-grad-buffer-pad",
            "Align buckets, and each rank's share of one, to so many bytes; 512 suits NPUs.",
            type=int,
            metavar="BYTES",
            in_config=False,
        ),
    ),
    needs=(
        Need(
            flag="--use-distributed-optimizer",
            why="only its buckets are shared out to ranks, and padded",
        ),
    ),
    check=check,
    patches=(
        Patch(
            "megatron.core.distributed.param_and_grad_buffer:math", shares_aligned, wraps=True, until="0.18"
        ),
        Patch(
            "megatron.core.distributed.param_and_grad_buffer:_ParamAndGradBuffer.__init__",
            beginning_at(values),
            wraps=True,
            until="0.13",
        ),
        Patch(
            "megatron.core.optimizer.param_layout:bucket_end_divisor",
            divisor_aligned,
            wraps=True,
            since="0.18",
        ),
    ),
)
