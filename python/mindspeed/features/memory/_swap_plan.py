# SPDX-License-Identifier: Apache-2.0
"""What was seen of a step in which every block of saved tensors went away, and which of them go when by libmindspeed_adaptor.

A step is a row of segments: a new one begins whenever a block is saved or asked for.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mindspeed.adaptor.native import function

UNKNOWN_RATE = 1e10  # bytes in a second, of copies that were too quick for the clock


@dataclass(slots=True)
class Note:
    """Of one block; segments."""

    bytes: int
    sent: int  # from then on it can be copied
    idle: int = -1  # from then on nobody needs it here; -1: it was always needed
    asked: int = -1  # in which it is needed again; -1: it was not


@dataclass(frozen=True, slots=True)
class SwapPlan:
    """Of the blocks that go: the first segment without them, and the first with them again."""

    leave: dict[int, int]
    fetch: dict[int, int]
    peak: int  # foreseen
    in_use: list[int]  # foreseen at the end of each segment
    events: list[int]  # of the step it is for

    def leaving(self) -> dict[int, list[int]]:
        return _by_segment(self.leave)

    def coming(self) -> dict[int, list[int]]:
        """Those that are asked for first in front."""
        place = {event: at for at, event in enumerate(self.events)}
        return {
            segment: sorted(blocks, key=lambda block: place.get(~block, len(place)))
            for segment, blocks in _by_segment(self.fetch).items()
        }


def _by_segment(blocks: dict[int, int]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for block, segment in blocks.items():
        found.setdefault(segment, []).append(block)
    return found


@dataclass(slots=True)
class Record:
    """Of one step. Events: `block` where one is saved, `~block` where it is asked for."""

    events: list[int] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)  # of each segment, bytes with everything away
    in_use: list[int] = field(default_factory=list)  # the same at its end
    seconds: list[float] = field(default_factory=list)
    out_rate: float = UNKNOWN_RATE  # bytes in a second
    back_rate: float = UNKNOWN_RATE

    def most_of(self, other: Record) -> None:
        """The larger of two steps alike: sizes vary where experts are given other tokens."""
        if self.events != other.events:
            return
        self.peaks = [max(pair) for pair in zip(self.peaks, other.peaks, strict=True)]
        self.in_use = [max(pair) for pair in zip(self.in_use, other.in_use, strict=True)]
        for mine, its in zip(self.notes, other.notes, strict=True):
            mine.bytes = max(mine.bytes, its.bytes)

    def plan(self, limit: int) -> SwapPlan:
        """Of blocks that were away for a while; the others stay as they are."""
        end = len(self.peaks)
        blocks, notes = [], []
        for block, note in enumerate(self.notes):
            asked = note.asked if note.asked >= 0 else end
            if 0 <= note.idle < asked:
                blocks.append(block)
                notes.append(Note(note.bytes, note.sent, note.idle, asked))
        leave, fetch, peak = solve(self, notes, limit)
        pairs = list(zip(blocks, leave, fetch, strict=True))
        return SwapPlan(
            {block: segment for block, segment, _ in pairs if segment >= 0},
            {block: segment for block, _, segment in pairs if 0 <= segment < end},
            peak,
            self._with(notes, leave, fetch),
            self.events,
        )

    def _with(self, notes: Sequence[Note], leave: Sequence[int], fetch: Sequence[int]) -> list[int]:
        """What is in use where these blocks are away from `leave` to `fetch` only."""
        change = [0] * (len(self.in_use) + 1)
        for note, out, back in zip(notes, leave, fetch, strict=True):
            spans = ((note.idle, note.asked),) if out < 0 else ((note.idle, out), (back, note.asked))
            for begin, end in spans:
                change[begin] += note.bytes
                change[end] -= note.bytes
        return [now + more for now, more in zip(self.in_use, itertools.accumulate(change), strict=False)]


def solve(record: Record, notes: Sequence[Note], limit: int) -> tuple[list[int], list[int], int]:
    """For each note the segments as the function in C gives them, and the most bytes of a segment."""
    size, place, large, real = ctypes.c_size_t, ctypes.c_int32, ctypes.c_int64, ctypes.c_double
    pointer = ctypes.POINTER
    plan = function(
        "hc_smart_swap", size, pointer(real), pointer(large), size, pointer(large), pointer(place), pointer(place),
        pointer(place), real, real, large, pointer(place), pointer(place), pointer(large),
    )  # fmt: skip

    def table(kind: Any, values: Sequence[Any]) -> Any:
        return (kind * max(len(values), 1))(*values)

    columns = [table(place, [getattr(note, name) for note in notes]) for name in ("sent", "idle", "asked")]
    leave, fetch, peak = table(place, [0] * len(notes)), table(place, [0] * len(notes)), large()
    status = plan(
        len(record.peaks), table(real, record.seconds), table(large, record.peaks), len(notes),
        table(large, [note.bytes for note in notes]), *columns, record.out_rate, record.back_rate, limit, leave, fetch,
        ctypes.byref(peak),
    )  # fmt: skip
    if status != 0:
        raise RuntimeError(
            f"--smart-swap: no plan for {len(notes)} blocks and {len(record.peaks)} segments of a step: the host has no "
            "memory for it, or what was recorded of the step contradicts itself"
        )
    count = len(notes)
    return list(itertools.islice(leave, count)), list(itertools.islice(fetch, count)), peak.value
