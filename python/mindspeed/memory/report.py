# SPDX-License-Identifier: Apache-2.0
"""Timelines as a table and as an object for JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mindspeed.memory.records import AGAIN, BACKWARD, FORWARD, OPTIMIZER, Recording
from mindspeed.memory.replay import AMOUNTS, Moment, Timeline, by_module, replay

MIB = 2**20
ROWS = 40  # of a table; what is less is one row
_DOING = {
    FORWARD: "forward pass of",
    AGAIN: "recomputation of",
    BACKWARD: "backward pass of",
    OPTIMIZER: "step of the optimizer",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """A recording, played back."""

    recording: Recording
    timeline: Timeline

    @property
    def title(self) -> str:
        return f"rank {self.recording.rank} of {self.recording.world}, device {self.recording.device}"


def play(recordings: Sequence[Recording]) -> list[Rank]:
    return [Rank(recording=recording, timeline=replay(recording)) for recording in recordings]


def fullest(ranks: Sequence[Rank]) -> Rank:
    return max(ranks, key=lambda rank: rank.timeline.peak.total)


def doing(moment: Moment) -> str:
    """backward pass of decoder.layers.1.mlp"""
    words = _DOING.get(moment.phase, "outside of modules")
    return f"{words} {moment.module}" if moment.phase in _DOING and moment.phase != OPTIMIZER else words


def mib(size: int) -> str:
    return f"{size / MIB:,.1f}"


def peak_line(rank: Rank) -> str:
    peak = rank.timeline.peak
    return f"{rank.title}: at most {mib(peak.total)} MiB of {mib(rank.recording.capacity)}, in step {peak.step}, {doing(peak)}"


def used(moment: Moment) -> list[str]:
    """Columns that are not empty."""
    sums: Counter[str] = Counter()
    for (_, amount), size in moment.held.items():
        sums[amount] += size
    return [amount for amount in AMOUNTS if sums[amount]]


def rows(moment: Moment, depth: int) -> list[tuple[str, Counter[str]]]:
    """(module, what it holds), at most ROWS of them."""
    found = list(by_module(moment.held, depth).items())
    if len(found) <= ROWS:
        return found
    rest: Counter[str] = Counter()
    for _, amounts in found[ROWS - 1 :]:
        rest.update(amounts)
    return [*found[: ROWS - 1], (f"{len(found) - ROWS + 1} more", rest)]


def notes(ranks: Sequence[Rank]) -> list[str]:
    """What is to be known of the recording itself."""
    found = [f"{rank.title}: {rank.recording.ended}" for rank in ranks if rank.recording.ended]
    worlds = {rank.recording.world for rank in ranks}
    missing = sorted(set(range(max(worlds))) - {rank.recording.rank for rank in ranks})
    if missing:
        found.append(f"no record of rank {', '.join(map(str, missing))}")
    return found


def text(ranks: Sequence[Rank], shown: Rank, depth: int) -> str:
    peak = shown.timeline.peak
    amounts = used(peak)
    lines = [peak_line(rank) for rank in ranks]
    lines += ["", f"Held at the peak of rank {shown.recording.rank}, MiB:"]
    table = [("module", "all", *amounts)]
    table += [
        (name, mib(held.total()), *(mib(held[one]) for one in amounts)) for name, held in rows(peak, depth)
    ]
    whole = sum((held for _, held in rows(peak, depth)), Counter())
    table.append(("all", mib(peak.total), *(mib(whole[one]) for one in amounts)))
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join([*lines, *(f"note: {note}" for note in notes(ranks))])


def as_object(ranks: Sequence[Rank]) -> dict[str, Any]:
    """For programs: every rank, modules by their whole names, bytes."""
    return {"notes": notes(ranks), "ranks": [_rank(rank) for rank in ranks]}


def _rank(rank: Rank) -> dict[str, Any]:
    peak = rank.timeline.peak
    modules: dict[str, dict[str, int]] = {}
    for (module, amount), size in sorted(peak.held.items()):
        modules.setdefault(module, {})[amount] = size
    return {
        "rank": rank.recording.rank, "world": rank.recording.world, "device": rank.recording.device,
        "capacity": rank.recording.capacity, "steps": len(rank.recording.steps), "ended": rank.recording.ended,
        "peak": {
            "bytes": peak.total, "step": peak.step, "phase": peak.phase, "module": peak.module,
            "microseconds": peak.microseconds, "modules": modules,
        },
        "timeline": [[moment.event, moment.microseconds, moment.total] for moment in rank.timeline.moments],
    }  # fmt: skip
