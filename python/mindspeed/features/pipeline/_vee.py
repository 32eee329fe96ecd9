# SPDX-License-Identifier: Apache-2.0
"""The order of passes of a pipeline in the shape of a V.

Each of P ranks has two chunks: chunk 0 of rank r is stage r, chunk 1 is stage 2P - 1 - r. So the first and the last stage are on
rank 0, and the turn is on the last rank, where one chunk gives to the other without a message. Every rank finds the orders of
all (src/small/mindspeed_adaptor/pipeline_vee.c, which says how), so each knows in which order its neighbours send.
"""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass
from typing import NamedTuple

from mindspeed.adaptor.native import function

FORWARD, BACKWARD, WEIGHTS = "forward", "backward", "weights"


class Pass(NamedTuple):
    kind: str
    chunk: int
    batch: int


@dataclass(frozen=True, slots=True)
class Place:
    """Which stages are where."""

    ranks: int

    @property
    def last(self) -> int:
        return 2 * self.ranks - 1

    def stage(self, rank: int, chunk: int) -> int:
        return rank if chunk == 0 else self.last - rank

    def rank(self, stage: int) -> int:
        return min(stage, self.last - stage)


class Message(NamedTuple):
    """What a pass gives to the pass behind it on another rank: an activation, or the gradient of one."""

    kind: str
    stage: int  # that it is for
    batch: int


@dataclass(slots=True)
class Order:
    """The passes of each rank, whatever the places of its stages."""

    place: Place
    orders: list[list[Pass]]

    def sent(self, rank: int, step: Pass) -> tuple[int, Message] | None:
        """To which rank, and what; None where the next pass is here, or there is none."""
        if step.kind == WEIGHTS:
            return None
        stage = self.place.stage(rank, step.chunk)
        following = stage + 1 if step.kind == FORWARD else stage - 1
        if not 0 <= following <= self.place.last or self.place.rank(following) == rank:
            return None
        return self.place.rank(following), Message(step.kind, following, step.batch)

    def messages(self, source: int, target: int) -> list[Message]:
        """In the order in which they are sent."""
        sent = (self.sent(source, step) for step in self.orders[source])
        return [found[1] for found in sent if found is not None and found[0] == target]


@dataclass(slots=True)
class Plan(Order):
    """length: when the last pass ends, in units of a forward pass. kept: the most passes of a rank
    whose activations wait for their backward pass, or whose gradients of weights are put off.

    Where these are passes of their own (is_apart), all passes take as long; else a backward pass takes twice as long."""

    length: float
    kept: int
    is_apart: bool

    @property
    def costs(self) -> dict[str, float]:
        return {FORWARD: 1.0, BACKWARD: 1.0, WEIGHTS: 1.0} if self.is_apart else {FORWARD: 1.0, BACKWARD: 2.0}


@functools.cache  # each step has the same
def plan(ranks: int, batches: int, forward_only: bool = False, is_apart: bool = False) -> Plan:
    """is_apart: gradients of weights are passes of their own."""
    kinds = (FORWARD,) if forward_only else (FORWARD, BACKWARD, WEIGHTS) if is_apart else (FORWARD, BACKWARD)
    each = len(kinds) * 2 * batches
    table, length, kept = (ctypes.c_int32 * (ranks * each))(), ctypes.c_double(), ctypes.c_int32()
    find = function(
        "hc_pipeline_vee",
        ctypes.c_size_t,
        ctypes.c_size_t,
        ctypes.c_int32,
        ctypes.POINTER(ctypes.c_int32),
        ctypes.POINTER(ctypes.c_double),
        ctypes.POINTER(ctypes.c_int32),
    )
    if find(ranks, batches, len(kinds), table, ctypes.byref(length), ctypes.byref(kept)) != 0:
        raise ValueError(
            f"--schedules-method: no plan for {ranks} ranks and {batches} micro-batches, wanted 1 to 1024 and 1 to 1048576"
        )

    def step(code: int) -> Pass:
        place, batch = divmod(code, batches)
        return Pass(kinds[place // 2], place % 2, batch)

    orders = [[step(code) for code in table[each * rank : each * (rank + 1)]] for rank in range(ranks)]
    return Plan(Place(ranks), orders, length.value, kept.value, WEIGHTS in kinds)
