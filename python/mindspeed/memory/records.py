# SPDX-License-Identifier: Apache-2.0
"""What a rank leaves: every allocation and free of its device, and when which module was at work. A JSON file `rank<N>.json`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

FORMAT = 1
#: What is going on: outside of modules, in a forward pass, in one that a checkpoint runs again, in a backward pass, in an
#: optimizer's step.
OUTSIDE, FORWARD, AGAIN, BACKWARD, OPTIMIZER = PHASES = (
    "outside",
    "forward",
    "again",
    "backward",
    "optimizer",
)
#: What stays between steps, by where it lies.
WEIGHT, GRADIENT, STATE = KINDS = ("weights", "gradients", "optimizer")


class RecordError(ValueError):
    """A file is no record, or the folder has none; the message says what was wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Of one rank.

    events   [address, bytes] of an allocation, [address, -bytes] of a free, in the order of the allocator.
    markers  [allocations before it, microseconds, phase, module]: from there on that module is at work. Modules by their
             number in `modules`, of which number 0 is none.
    regions  [address, bytes, kind, module, allocations before it] of weights, gradients and states as they lay then.
    steps    of the optimizer, as numbers of allocations.
    ended    why the recording ended, where that was not the last step that was asked for.
    """

    rank: int
    world: int
    device: int
    capacity: int
    events: Sequence[Sequence[int]]
    markers: Sequence[Sequence[int]]
    modules: Sequence[str]
    regions: Sequence[Sequence[int]]
    steps: Sequence[int]
    ended: str = ""


def file_of(folder: Path, rank: int) -> Path:
    return folder / f"rank{rank}.json"


def write(folder: Path, recording: Recording) -> None:
    """Appears whole or not at all."""
    path = file_of(folder, recording.rank)
    temporary = path.with_name(f".{path.name}")
    text = json.dumps({"format": FORMAT, **asdict(recording)}, separators=(",", ":"))
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def read(path: Path) -> Recording:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecordError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict) or found.pop("format", None) != FORMAT:
        raise RecordError(f"{path} is no record of `mindspeed memory` of format {FORMAT}")
    wanted = {field.name for field in fields(Recording)}
    if set(found) != wanted:
        raise RecordError(
            f"{path} is damaged: wanted {', '.join(sorted(wanted))}, found {', '.join(sorted(found))}"
        )
    _check(path, found)
    return Recording(**found)


def _check(path: Path, found: dict[str, Any]) -> None:
    """Tables of whole numbers of the right width, and modules that there are."""
    widths = {"events": 2, "markers": 4, "regions": 5}
    if not (found["events"] and found["markers"] and found["modules"]):
        raise RecordError(f"{path} is damaged: it has no events, markers or modules")
    for name, width in widths.items():
        for row in found[name]:
            if not (isinstance(row, list) and len(row) == width and all(type(x) is int for x in row)):
                raise RecordError(f"{path} is damaged: {name} has {row!r}, wanted {width} whole numbers")
    most = len(found["modules"])
    for name, kinds in (("markers", len(PHASES)), ("regions", len(KINDS))):
        for _, _, kind, module, *_ in found[name]:
            if not (0 <= module < most and 0 <= kind < kinds):
                raise RecordError(
                    f"{path} is damaged: {name} name module {module} of {most} and kind {kind} of {kinds}"
                )


def read_all(folder: Path) -> list[Recording]:
    """By rank; RecordError if there is none."""
    found = [read(path) for path in folder.glob("rank*.json")]
    if not found:
        raise RecordError(
            f"{folder} has no rank*.json: no rank asked for memory of a device, or none came to the end of its recording"
        )
    return sorted(found, key=lambda recording: recording.rank)
