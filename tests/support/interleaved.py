# SPDX-License-Identifier: Apache-2.0
"""The order in which a stage of Megatron's interleaved pipeline runs its passes, without a pipeline."""

from __future__ import annotations

from collections.abc import Iterator


def order(stages: int, chunks: int, batches: int, rank: int) -> Iterator[tuple[str, int, int]]:
    """("forward" or "backward", chunk, micro-batch), each kind in the order of Megatron's schedule table."""
    forwards = [
        (chunk, batch)
        for begin in range(0, batches, stages)
        for chunk in range(chunks)
        for batch in range(begin, min(begin + stages, batches))
    ]
    backwards = [(chunks - 1 - chunk, batch) for chunk, batch in forwards]
    total = len(forwards)
    ahead = min(total, 2 * (stages - rank - 1) + (chunks - 1) * stages)
    for place in range(ahead):
        yield "forward", *forwards[place]
    for place in range(ahead, total):
        yield "forward", *forwards[place]
        yield "backward", *backwards[place - ahead]
    for place in range(total - ahead, total):
        yield "backward", *backwards[place]
