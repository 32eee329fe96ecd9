# SPDX-License-Identifier: Apache-2.0
"""The numbers of a run: one JSON object a line in <out>/history.jsonl, and the curve drawn from them."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

from errors import UserError
from files import is_there, read_small, write_atomically

Record = dict[str, Any]
MOST_BYTES = 1 << 30  # of millions of iterations


class History:
    """Records by iteration. What lies behind the checkpoint that a run resumes from is dropped.

    Only one rank has the file: the others keep what they add.
    """

    def __init__(self, path: Path, resumed_at: int, *, is_writer: bool) -> None:
        self._path = path
        self._is_writer = is_writer
        self.records: list[Record] = []
        if not is_writer:
            return
        self.records = [record for record in _read(path) if record["iteration"] <= resumed_at]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, "".join(json.dumps(record) + "\n" for record in self.records))

    def add(self, record: Record) -> None:
        self.records.append(record)
        if not self._is_writer:
            return
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise UserError(f"{self._path} cannot be written: {error.strerror}") from None

    def series(self, name: str) -> tuple[list[int], list[float]]:
        points = [(r["iteration"], r[name]) for r in self.records if name in r]
        return [x for x, _ in points], [y for _, y in points]

    def last(self, name: str) -> float:
        values = self.series(name)[1]
        return values[-1] if values else math.nan


def _is_record(record: Any) -> bool:
    """The iteration, and numbers by name."""
    return (
        isinstance(record, dict)
        and type(record.get("iteration")) is int
        and all(isinstance(value, int | float) for value in record.values())
    )


def _parse(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _read(path: Path) -> list[Record]:
    """A process killed while it wrote leaves a broken last line: it counts as not written."""
    if not is_there(path):
        return []
    records = [_parse(line) for line in read_small(path, MOST_BYTES).split("\n") if line]
    if records and not _is_record(records[-1]):
        records.pop()
    for number, record in enumerate(records, 1):
        if not _is_record(record):
            raise UserError(
                f"{path} is damaged: line {number} is no record of numbers; move the file away, the curve then starts anew"
            )
    return records


def plot(history: History, path: Path, title: str) -> None:
    """Training and validation loss over iterations as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), dpi=120)
    axes.plot(*history.series("loss"), color="tab:blue", linewidth=0.8, label="training")
    axes.plot(
        *history.series("valid_loss"),
        color="tab:orange",
        marker="o",
        markersize=3,
        label="validation (held out)",
    )
    axes.set_xlabel("iteration")
    axes.set_ylabel("loss (nats per byte)")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    image = io.BytesIO()
    figure.savefig(image, format="png")
    pyplot.close(figure)
    write_atomically(path, image.getvalue())
