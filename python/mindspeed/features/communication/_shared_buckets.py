# SPDX-License-Identifier: Apache-2.0
"""Where the bucket of a parameter that stages share begins in Megatron Core 0.12.

Megatron gives such a parameter a bucket of its own, closes the bucket in front of it, whose end it aligns, and leaves the
parameter where it was unless the ranks do not divide that place. Where ends are aligned to more, the parameter then lies in both
buckets. Here its beginning is aligned as the end is, which is what later releases do, too. Megatron computes places in a
function of its own by `math`: what it rounds after an lcm is the end of a bucket, all else the beginning of the next parameter.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch

_PARAMETER = 64  # values: parameters begin at multiples of it
_BUCKET, _WIDE_BUCKET = (
    128,
    2**16,
)  # and buckets of these; the second by --ddp-pad-buckets-for-high-nccl-busbw
Divisor = Callable[[int], int]  # of buckets for so many ranks


def is_shared(parameter: Any) -> bool:
    return bool(getattr(parameter, "shared_embedding", False))


def _up(place: int, divisor: int) -> int:
    return -(-place // divisor) * divisor


class Starts:
    """Of one buffer while it is laid out: `math` is asked for places here."""

    now: ClassVar[Starts | None] = None

    def __init__(self, parameters: list[Any], divisor: int) -> None:
        self._waiting, self._divisor = list(parameters), divisor  # the last one is placed first
        self._is_end = False

    def end_follows(self) -> None:
        self._is_end = True

    def ceil(self, quotient: float) -> int:
        found = math.ceil(quotient)
        if self._is_end or not self._waiting:
            self._is_end = False
            return found
        if is_shared(self._waiting.pop()):
            return _up(found * _PARAMETER, self._divisor) // _PARAMETER
        return found


def _without_padding(buffer: Any) -> None:
    """Checkpoints know a bucket by its size without what its end is padded with."""
    for number, (bucket, following) in enumerate(zip(buffer.buckets, buffer.buckets[1:], strict=False)):
        if any(is_shared(parameter) for parameter in following.params):
            last = max(buffer.param_index_map[parameter][1] for parameter in bucket.params)
            bucket.numel_unpadded = _up(last, _PARAMETER) - buffer.bucket_indices[number][0]
    buffer.numel_unpadded = sum(bucket.numel_unpadded for bucket in buffer.buckets)


def beginning_at(divisor: Divisor) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """For _ParamAndGradBuffer.__init__; `divisor`: what ends of buckets are aligned to, beside Megatron's own numbers."""

    def wrapping(init: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(init)
        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
            given = inspect.signature(init).bind(self, *args, **kwargs).arguments
            config, ranks = (
                given["ddp_config"],
                torch.distributed.get_world_size(given["data_parallel_group"]),
            )
            own = _WIDE_BUCKET if config.pad_buckets_for_high_nccl_busbw else _BUCKET
            if config.use_distributed_optimizer:
                Starts.now = Starts(given["params"], math.lcm(ranks, own, divisor(ranks)))
            try:
                init(self, *args, **kwargs)
            finally:
                Starts.now = None
            if config.use_distributed_optimizer:
                _without_padding(self)

        return __init__

    return wrapping
