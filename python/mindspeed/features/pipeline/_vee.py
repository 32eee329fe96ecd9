# SPDX-License-Identifier: Apache-2.0
"""The order of passes of a pipeline in the shape of a V.

Each of P ranks has two chunks: chunk 0 of rank r is stage r, chunk 1 is stage 2P - 1 - r. So the first and the last stage are on
rank 0, and the turn is on the last rank, where one chunk gives to the other without a message (the placement of DualPipeV:
DeepSeek-V3 Technical Report, arXiv:2412.19437; "cut in half", Sea AI Lab). The order is found by running the pipeline on
paper: whoever is idle first takes a pass that it can begin, the other kind than its last one where it has both, so that
forward and backward passes take turns. Every rank finds the same orders, so each knows in which order its neighbours send.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

FORWARD, BACKWARD = "forward", "backward"
COSTS = {FORWARD: 1.0, BACKWARD: 2.0}  # a backward pass computes two gradients for each product


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
class Plan:
    """orders: of each rank. length: when the last pass ends, in units of a forward pass. kept: the most passes of a rank
    whose activations wait for their backward pass."""

    place: Place
    orders: list[list[Pass]]
    length: float
    kept: int

    def sent(self, rank: int, step: Pass) -> tuple[int, Message] | None:
        """To which rank, and what; None where the next pass is here, or there is none."""
        stage = self.place.stage(rank, step.chunk)
        following = stage + 1 if step.kind == FORWARD else stage - 1
        if not 0 <= following <= self.place.last or self.place.rank(following) == rank:
            return None
        return self.place.rank(following), Message(step.kind, following, step.batch)

    def messages(self, source: int, target: int) -> list[Message]:
        """In the order in which they are sent."""
        sent = (self.sent(source, step) for step in self.orders[source])
        return [found[1] for found in sent if found is not None and found[0] == target]


class _Paper:
    """The state of the run on paper."""

    def __init__(self, ranks: int, batches: int, kinds: tuple[str, ...]) -> None:
        self.place, self.batches, self.kinds = Place(ranks), batches, kinds
        self.free = [0.0] * ranks
        self.orders: list[list[Pass]] = [[] for _ in range(ranks)]
        self.next = {(kind, rank, chunk): 0 for kind in kinds for rank in range(ranks) for chunk in (0, 1)}
        self.waiting = [[0, 0] for _ in range(ranks)]  # forward passes without their backward pass, by chunk
        self.end: dict[Message, float] = {}  # when a stage is through with a batch
        self.kept = 0

    def ready(self, rank: int, step: Pass) -> float | None:
        """When what it needs is there; None if nobody knows yet."""
        stage = self.place.stage(rank, step.chunk)
        if step.kind == FORWARD:
            full = step.chunk == 0 and self.waiting[rank][0] >= self.place.last + 1 - rank
            if full and BACKWARD in self.kinds:
                return None
            return 0.0 if stage == 0 else self.end.get(Message(FORWARD, stage - 1, step.batch))
        if stage == self.place.last:
            return self.end.get(Message(FORWARD, stage, step.batch))
        return self.end.get(Message(BACKWARD, stage + 1, step.batch))

    def choices(self, rank: int) -> list[tuple[float, bool, int, Pass]]:
        """What it could do next: when, whether it did the same kind before, and the later chunk first."""
        before = self.orders[rank][-1].kind if self.orders[rank] else BACKWARD
        found = []
        for kind in self.kinds:
            for chunk in (1, 0):
                step = Pass(kind, chunk, self.next[kind, rank, chunk])
                ready = self.ready(rank, step) if step.batch < self.batches else None
                if ready is not None:
                    found.append((max(self.free[rank], ready), kind == before, 1 - chunk, step))
        return found

    def run(self, rank: int, begin: float, step: Pass) -> None:
        end = begin + COSTS[step.kind]
        self.free[rank] = end
        self.orders[rank].append(step)
        self.next[step.kind, rank, step.chunk] += 1
        self.end[Message(step.kind, self.place.stage(rank, step.chunk), step.batch)] = end
        self.waiting[rank][step.chunk] += 1 if step.kind == FORWARD else -1
        self.kept = max(self.kept, sum(self.waiting[rank]))


def plan(ranks: int, batches: int, forward_only: bool = False) -> Plan:
    paper = _Paper(ranks, batches, (FORWARD,) if forward_only else (FORWARD, BACKWARD))
    for _ in range(2 * ranks * batches * len(paper.kinds)):
        choices = ((choice, rank) for rank in range(ranks) for choice in paper.choices(rank))
        (begin, _, _, step), rank = min(choices)
        paper.run(rank, begin, step)
    return Plan(paper.place, paper.orders, max(paper.free), paper.kept)
