# SPDX-License-Identifier: Apache-2.0
"""The order of passes of a pipeline two at a time: a forward pass and a backward pass, which run beside each other.

Stages are in rows, one for each chunk, as Megatron places them, or in the shape of a V. src/small/mindspeed_adaptor/pipeline_pairs.c
says which passes are a pair.
"""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass

from mindspeed.adaptor.native import function
from mindspeed.features.pipeline._vee import BACKWARD, FORWARD, Order, Pass, Place


@dataclass(frozen=True, slots=True)
class Rows(Place):
    """Chunk c of rank r of P is stage c P + r."""

    chunks: int

    @property
    def last(self) -> int:
        return self.chunks * self.ranks - 1

    def stage(self, rank: int, chunk: int) -> int:
        return chunk * self.ranks + rank

    def rank(self, stage: int) -> int:
        return stage % self.ranks


@dataclass(slots=True)
class Pairs(Order):
    """slots: of each rank, a pair of passes or one by itself."""

    slots: list[list[tuple[Pass, ...]]]


@functools.cache  # each step has the same
def pairs(ranks: int, batches: int, chunks: int, group: int, is_vee: bool) -> Pairs:
    """group: of micro-batches that go through a chunk before the next one's turn, where chunks are in rows."""
    passes = 2 * chunks * batches
    table = (ctypes.c_int32 * (ranks * passes * 2))()
    sizes = [ctypes.c_size_t] * 4
    find = function("hc_pipeline_pairs", *sizes, ctypes.c_int32, ctypes.POINTER(ctypes.c_int32))
    if find(ranks, chunks, batches, group, is_vee, table) != 0:
        raise ValueError(
            f"--moe-fb-overlap: no plan for {ranks} ranks with {chunks} chunks and {batches} micro-batches in groups of {group}; where "
            "there are several chunks --microbatch-group-size-per-virtual-pipeline-stage is no less than the ranks"
        )

    def step(code: int) -> Pass:
        place, batch = divmod(code, batches)
        kind, chunk = divmod(place, chunks)
        return Pass((FORWARD, BACKWARD)[kind], chunk, batch)

    slots: list[list[tuple[Pass, ...]]] = []
    for rank in range(ranks):
        mine: list[tuple[Pass, ...]] = []
        for number in range(rank * passes, (rank + 1) * passes):
            found = step(table[2 * number])
            if table[2 * number + 1]:
                mine[-1] = (*mine[-1], found)
            else:
                mine.append((found,))
        slots.append(mine)
    orders = [[found for slot in mine for found in slot] for mine in slots]
    return Pairs(Place(ranks) if is_vee else Rows(ranks, chunks), orders, slots)
