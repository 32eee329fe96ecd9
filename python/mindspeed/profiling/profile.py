# SPDX-License-Identifier: Apache-2.0
"""A profile on disk, PROF_*/: tasks of the device and when the host launched them, in times of the calendar."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mindspeed.cli.environment import UsageError
from mindspeed.cli.trace import records


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Times are ns of the calendar."""

    name: str
    kind: str  # operator, copy, collective, callback, control
    device: int
    stream: int
    begin: int
    end: int
    launch: int
    shapes: str
    roles: str  # of these: i read, o written, b both
    size: int  # bytes read and written
    flops: int

    def operands(self, *roles: str) -> list[tuple[str, str]]:
        """(type, shape) of those that are read ("i", "b") or written ("o", "b"): ("float32", "4,8")."""
        found = re.findall(r"(\w+)\[([\d,]*)\]", self.shapes)
        return [operand for operand, role in zip(found, self.roles, strict=False) if role in roles]


@dataclass(frozen=True, slots=True)
class Clock:
    """From the trace's clock (monotonic) to the calendar, as torch_npu counts: by the raw clock since the start. The two run
    apart by some millionths, so what they showed at the end counts as well."""

    wall: int
    raw: int
    monotonic: int
    raw_per_monotonic: float

    @classmethod
    def read(cls, host: Path) -> Clock:
        start, end = _clocks(host / "start_info"), _clocks(host / "end_info")
        raw, monotonic = int(start["clockMonotonicRaw"]), int(start["clockMonotonic"])
        passed = int(end["clockMonotonic"]) - monotonic if end else 0
        rate = (int(end["clockMonotonicRaw"]) - raw) / passed if passed > 0 else 1.0
        return cls(int(start["collectionTimeBegin"]) * 1000, raw, monotonic, rate)

    def wall_ns(self, microseconds: float) -> int:
        passed = round(microseconds * 1000) - self.monotonic
        return self.wall + round(passed * self.raw_per_monotonic)


def _clocks(path: Path) -> dict[str, str]:
    if not path.is_file():
        if path.name == "end_info":
            return {}  # the process was ended while it profiled
        raise UsageError(f"{path} is missing: {path.parent.parent} is no profile of MindSpeed's devices")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {key: str(int(value)) for key, value in found.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise UsageError(f"{path} is damaged: {error}") from error


@dataclass(frozen=True, slots=True)
class Profile:
    folder: Path
    process: int
    tasks: list[Task]  # by their beginning

    @property
    def devices(self) -> list[int]:
        return sorted({task.device for task in self.tasks})

    def of(self, device: int, *kinds: str) -> list[Task]:
        return [task for task in self.tasks if task.device == device and task.kind in kinds]


def _tasks(path: Path, clock: Clock) -> Iterator[Task]:
    for line, record in records(path):
        if record.get("ph") != "X":
            continue
        try:
            args = record["args"]
            begin, end = record["ts"], record["ts"] + record["dur"]
            yield Task(
                name=record["name"],
                kind=record["cat"],
                device=record["pid"] - 1,
                stream=record["tid"] - 1,
                begin=clock.wall_ns(begin),
                end=clock.wall_ns(end),
                launch=clock.wall_ns(args["launch"]),
                shapes=args["shapes"],
                roles=args["roles"],
                size=args["bytes"],
                flops=args["flops"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"{path}, line {line}: no record of a task: {error!r}") from error


def read(folder: Path) -> Profile:
    """Raises UsageError, in a sentence, where there is no profile in the folder or it is damaged."""
    traces = sorted((folder / "host" / "data").glob("npu_trace_*.json"))
    if not traces:
        raise UsageError(
            f"{folder}/host/data has no trace of a device; where MINDSPEED_TRACE is set the trace is in that file, "
            "and torch_npu.profiler gets none: unset it"
        )
    clock = Clock.read(folder / "host")
    tasks = [task for trace in traces for task in _tasks(trace, clock) if task.device >= 0]
    process = int(re.sub(r"\D.*", "", traces[0].stem.removeprefix("npu_trace_")) or 0)
    return Profile(folder, process, sorted(tasks, key=lambda task: task.begin))
