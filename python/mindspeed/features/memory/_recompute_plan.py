# SPDX-License-Identifier: Apache-2.0
"""What was seen of steps in which every layer was run again, and which layers keep what by libmindspeed_adaptor.

A step is a row of segments, of each of which the most memory in use is known. Between its forward and its backward pass a
layer that is not run again would hold so many bytes more.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from mindspeed.adaptor.native import function

AGAIN, KEPT, MLP_AGAIN, ATTENTION_AGAIN = range(4)  # options of a layer; the first is that of the plan in C
OPTIONS = 4
PART = {MLP_AGAIN: "mlp", ATTENTION_AGAIN: "self_attention"}
Unit = tuple[int, int]  # which layer, and how large its input is
_NS = 1e9


@dataclass(slots=True)
class Seen:
    """Of one unit, the most of all its passes; by option."""

    bytes: dict[int, int] = field(default_factory=dict)  # held behind its forward pass
    peak: dict[int, int] = field(
        default_factory=dict
    )  # in use during its forward pass, above what was before
    nanoseconds: dict[int, int] = field(default_factory=dict)  # to run it, or the part of it, again


@dataclass(slots=True)
class Span:
    """Of one pass of a unit: its forward pass is a segment, and what it keeps is held from the next one to `end`."""

    unit: Unit
    forward: int
    before: int  # bytes in use when the forward pass began
    output: int  # bytes that it holds anyway
    end: int = -1


@dataclass(frozen=True, slots=True)
class Plan:
    options: dict[Unit, int]
    peak: int  # foreseen


class Account:
    """What was seen of all steps."""

    def __init__(self) -> None:
        self.units: dict[Unit, Seen] = {}
        self.segments: list[int] = []
        self.spans: list[Span] = []

    def unit(self, key: Unit) -> Seen:
        return self.units.setdefault(key, Seen())

    def agree(self, group: Any) -> None:
        """Take the most of all ranks that compute the same layers together: all of them have to choose alike."""
        if group is None or torch.distributed.get_world_size(group) == 1:
            return
        order = [self.units[key] for key in self.units]
        flat = [
            table.get(option, -1)
            for seen in order
            for table in (seen.bytes, seen.peak, seen.nanoseconds)
            for option in range(OPTIONS)
        ]
        flat += self.segments
        flat += [value for span in self.spans for value in (span.before, -span.output)]
        numbers = torch.tensor(flat, dtype=torch.int64, device="npu")
        torch.distributed.all_reduce(numbers, op=torch.distributed.ReduceOp.MAX, group=group)
        found = iter(numbers.tolist())
        for seen in order:
            for table in (seen.bytes, seen.peak, seen.nanoseconds):
                for option in range(OPTIONS):
                    value = next(found)
                    if value >= 0:
                        table[option] = value
        self.segments = [next(found) for _ in self.segments]
        for span in self.spans:
            span.before, span.output = next(found), -next(found)

    def saved(self, key: Unit, option: int) -> float:
        """Seconds, next to running the whole layer again; negative if the unit does not have the option."""
        seen = self.units[key]
        if option == AGAIN:
            return 0.0
        whole, part = seen.nanoseconds.get(KEPT, 0), seen.nanoseconds.get(option, 0) if option in PART else 0
        if option not in seen.bytes or (option in PART and part == 0):
            return -1.0
        # The clock's noise must not make a layer that keeps everything look worse than one that does not.
        return max(whole - part, 0) / _NS + (2e-9 if option == KEPT else 1e-9)

    def plan(self, limit: int) -> Plan:
        keys = list(self.units)
        number = {key: place for place, key in enumerate(keys)}
        unit, begin, end, more = [], [], [], []
        for span in self.spans:
            seen = self.units[span.unit]
            held = [max(seen.bytes.get(option, 0) - span.output, 0) for option in range(OPTIONS)]
            runs = [
                max(held[option], span.before + seen.peak.get(option, 0) - self.segments[span.forward])
                for option in range(OPTIONS)
            ]
            held[AGAIN] = runs[AGAIN] = 0
            for first, last, values in (
                (span.forward, span.forward + 1, runs),
                (span.forward + 1, span.end, held),
            ):
                unit.append(number[span.unit])
                begin.append(first)
                end.append(max(first, last))
                more += values
        seconds = [self.saved(key, option) for key in keys for option in range(OPTIONS)]
        chosen, peak = _solve(self.segments, unit, begin, end, more, seconds, limit)
        return Plan(dict(zip(keys, chosen, strict=True)), peak)


def _solve(
    segments: Sequence[int],
    unit: Sequence[int],
    begin: Sequence[int],
    end: Sequence[int],
    more: Sequence[int],
    seconds: Sequence[float],
    limit: int,
) -> tuple[list[int], int]:
    size, place, large, real = ctypes.c_size_t, ctypes.c_int32, ctypes.c_int64, ctypes.c_double
    pointer = ctypes.POINTER
    solve = function(
        "hc_adaptive_recompute", size, pointer(large), size, pointer(place), pointer(place), pointer(place),
        pointer(large), size, size, pointer(real), large, pointer(place), pointer(large),
    )  # fmt: skip

    def table(kind: Any, values: Sequence[Any]) -> Any:
        return (kind * max(len(values), 1))(*values)

    units = len(seconds) // OPTIONS
    chosen, peak = table(place, [0] * units), large()
    status = solve(
        len(segments), table(large, segments), len(unit), table(place, unit), table(place, begin), table(place, end),
        table(large, more), units, OPTIONS, table(real, seconds), limit, chosen, ctypes.byref(peak),
    )  # fmt: skip
    if status != 0:
        raise RuntimeError(
            f"--adaptive-recompute-device-size: no plan for {units} layers and {len(segments)} segments of a step: "
            "the host has no memory for it, or a pass had no backward pass"
        )
    return chosen[:units], peak.value
