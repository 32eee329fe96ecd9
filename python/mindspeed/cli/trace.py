# SPDX-License-Identifier: Apache-2.0
"""`mindspeed trace merge`: the traces of several processes in one file for Perfetto.

A trace has a record on each line (src/runtime/trace_file.c), so files are read and written line by line and may be
larger than memory. Rows are numbered anew: two processes may have the same number in two containers, and every trace
numbers its devices from 1. Times of one host are on one clock; those of others are moved by the difference of the
clocks to the calendar, as each process found it at its start, so they are as good as the hosts' calendars agree.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from mindspeed.cli.environment import UsageError

FORMAT = 1
Record = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A trace and what its first record tells: whose it is, and what turns its times into those of the calendar."""

    path: Path
    process: int
    rank: int | None
    host: str
    clock: str
    wall_ns: int

    @property
    def order(self) -> tuple[bool, int, str, int]:
        """Ranks first, in their order."""
        return (self.rank is None, self.rank or 0, self.host, self.process)


def _damaged(path: Path, line: int, what: str) -> UsageError:
    return UsageError(f"{path}, line {line}: {what}")


def _record(path: Path, number: int, text: str) -> Record:
    try:
        record = json.loads(text)
    except ValueError as error:
        raise _damaged(path, number, f"no whole record: {error}; the file is damaged") from error
    if not isinstance(record, dict):
        raise _damaged(path, number, f"a record is a JSON object, this is {text[:40]!r}; the file is damaged")
    return record


def records(path: Path) -> Iterator[tuple[int, Record]]:
    """(line, record) of a trace, whose form is checked to the end. Blank stretches are skipped."""
    closed_on = 0
    with path.open(encoding="utf-8", errors="surrogateescape") as file:
        for number, line in enumerate(file, 1):
            text = line.strip()
            if number == 1 and text != "[":
                raise _damaged(path, 1, f"a trace of MindSpeed begins with a line '[', this is {text[:40]!r}")
            if number == 1 or not text:
                continue
            if closed_on:
                raise _damaged(path, number, f"text behind the ']' of line {closed_on}; the file is damaged")
            if text == "]":
                closed_on = number
                continue
            if number > 2 and text[0] != ",":
                raise _damaged(
                    path, number, f"a record begins with ',', this is {text[:40]!r}; the file is damaged"
                )
            yield number, _record(path, number, text[1:] if number > 2 else text)
    if not closed_on:
        raise UsageError(f"{path} has no ']' at its end: it is cut off, or still being copied")


def _source(path: Path) -> Source:
    """Reads the first record only."""
    try:
        number, first = next(records(path), (1, {}))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    facts = first.get("args", {})
    if first.get("name") != "mindspeed_trace" or not isinstance(facts, dict):
        raise _damaged(
            path, number, "the first record does not say whose trace it is; is it one of MindSpeed's?"
        )
    if facts.get("format") != FORMAT:
        raise _damaged(path, number, f"format {facts.get('format')}; this release merges format {FORMAT}")
    try:
        return Source(
            path=path,
            process=int(facts["process"]),
            rank=None if facts["rank"] is None else int(facts["rank"]),
            host=str(facts["host"]),
            clock=str(facts["clock"]),
            wall_ns=int(facts["wall_ns"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(
            path, number, f"the first record lacks or has a wrong {error}; the file is damaged"
        ) from error


class _Rows:
    """Numbers of process rows in the merged file, one for each device of each trace."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.numbers: dict[tuple[Source, int], int] = {}
        self.hosts = len({source.host for source in sources}) > 1

    def number(self, source: Source, row: int) -> tuple[int, bool]:
        """And whether it is new."""
        new = (source, row) not in self.numbers
        return self.numbers.setdefault((source, row), len(self.numbers) + 1), new

    def title(self, source: Source, row: int) -> str:
        owner = f"process {source.process}" if source.rank is None else f"rank {source.rank}"
        where = f" on {source.host}" if self.hosts else ""
        return f"{owner}{where}: {'host' if row == 0 else f'NPU {row - 1}'}"


def _moved(record: Record, shift_us: float) -> Record:
    if shift_us and "ts" in record:
        record["ts"] = round(record["ts"] + shift_us, 3)
    return record


def _merged(source: Source, rows: _Rows, shift_us: float) -> Iterator[Record]:
    """The records of one trace, with the numbers and times of the merged file."""
    for number, record in records(source.path):
        name, row = record.get("name"), record.get("pid")
        if record.get("ph") == "M" and name in ("mindspeed_trace", "process_name"):
            continue
        if not isinstance(row, int) or not isinstance(record.get("ts", 0), int | float):
            raise _damaged(source.path, number, "'pid' and 'ts' must be numbers; the file is damaged")
        record["pid"], new = rows.number(source, row)
        if new:
            head = {"ph": "M", "pid": record["pid"]}
            yield {**head, "name": "process_name", "args": {"name": rows.title(source, row)}}
            yield {**head, "name": "process_sort_index", "args": {"sort_index": record["pid"]}}
        yield _moved(record, shift_us)


def _write(file: TextIO, sources: Sequence[Source]) -> int:
    """The number of records."""
    rows, count = _Rows(sources), 0
    first = sources[0]
    file.write("[\n")
    for source in sources:
        shift_us = 0.0 if source.clock == first.clock else (source.wall_ns - first.wall_ns) / 1000
        for record in _merged(source, rows, shift_us):
            file.write(("," if count else "") + json.dumps(record, separators=(",", ":")) + "\n")
            count += 1
    file.write("]\n")
    return count


def merge(paths: Sequence[str], out: str) -> int:
    """OUT appears whole or not at all, and replaces nothing."""
    sources = sorted((_source(Path(path)) for path in paths), key=lambda source: source.order)
    same = {os.path.realpath(path) for path in paths}
    if len(same) < len(paths):
        raise UsageError("a trace is named twice")
    target = Path(out)
    if os.path.lexists(target):
        raise UsageError(f"{out} exists; name another file with -o, or remove it")
    try:
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with open(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
                count = _write(file, sources)
            os.link(temporary, target)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror}") from error
    print(f"{out}: {count} records of {len(sources)} processes; open it at https://ui.perfetto.dev")
    return 0
