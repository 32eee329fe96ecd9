# SPDX-License-Identifier: Apache-2.0
"""Records of a dump: a folder for each step, in it a file for each rank, in it a line of JSON for each tensor.

    step000003/rank00001.jsonl
        {"format": 1, "step": 3, "rank": 1, "world_size": 2}
        {"name": "decoder.layers.0.mlp", "pass": "forward", "call": 0, "index": 0, "dtype": "bfloat16",
         "shape": [128, 2, 64], "min": -1.5, "max": 1.25, "mean": 0.001, "norm": 55.2, "nonfinite": 0}
        ...
        {"end": 812}

Lines are in the order of execution. Numbers that JSON does not know are written as "nan", "inf" and "-inf". The last line
counts the records: a file without it was not written to its end. Files are new (never overwritten) and private (0600).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

FORMAT = 1
STATISTICS = ("min", "max", "mean", "norm", "nonfinite")
PASSES = ("input", "forward", "backward", "parameter")
Key = tuple[str, str, int, int]


class DumpError(ValueError):
    """A dump that cannot be read; the message names the file, the line and what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One tensor. min, max, mean and the 2-norm are of its finite and other elements alike, `nonfinite` counts the others."""

    name: str
    direction: str
    call: int
    index: int
    dtype: str
    shape: tuple[int, ...]
    statistics: tuple[float, ...]

    @property
    def key(self) -> Key:
        return self.name, self.direction, self.call, self.index

    @property
    def title(self) -> str:
        """'backward of decoder.layers.0.mlp, call 1, tensor 0'."""
        return f"{self.direction} of {self.name}, call {self.call}, tensor {self.index}"


def file_of(folder: Path, step: int, rank: int) -> Path:
    return folder / f"step{step:06d}" / f"rank{rank:05d}.jsonl"


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _line(record: Record) -> dict[str, Any]:
    statistics = {name: _number(value) for name, value in zip(STATISTICS, record.statistics, strict=True)}
    return {
        "name": record.name, "pass": record.direction, "call": record.call, "index": record.index,
        "dtype": record.dtype, "shape": record.shape, **statistics,
    }  # fmt: skip


def write(path: Path, header: dict[str, int], records: Iterable[Record]) -> None:
    """A new file; FileExistsError where there is one already. OSError names the file; nothing half is left of it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    handle = os.open(path, flags, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            _write_lines(file, header, records)
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # a full disk does not say of what
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def _write_lines(file: TextIO, header: dict[str, int], records: Iterable[Record]) -> None:
    file.write(json.dumps({"format": FORMAT} | header) + "\n")
    count = 0
    for count, record in enumerate(records, 1):  # noqa: B007
        file.write(json.dumps(_line(record)) + "\n")
    file.write(json.dumps({"end": count}) + "\n")


def _parse(path: Path, number: int, text: str) -> dict[str, Any]:
    try:
        line = json.loads(text)
    except ValueError as error:
        raise DumpError(f"{path}, line {number}: {error}; the file is damaged") from error
    if not isinstance(line, dict):
        raise DumpError(f"{path}, line {number}: a record is a JSON object; the file is damaged")
    return line


def _record(path: Path, number: int, line: dict[str, Any]) -> Record:
    try:
        return Record(
            name=str(line["name"]),
            direction=str(line["pass"]),
            call=int(line["call"]),
            index=int(line["index"]),
            dtype=str(line["dtype"]),
            shape=tuple(int(size) for size in line["shape"]),
            statistics=tuple(float(line[name]) for name in STATISTICS),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DumpError(f"{path}, line {number}: {error!r}; the file is damaged") from error


def read(path: Path) -> list[Record]:
    """All records of a whole file; DumpError for any other."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines:
        raise DumpError(f"{path} is empty: it was not written to its end")
    header = _parse(path, 1, lines[0])
    if header.get("format") != FORMAT:
        raise DumpError(
            f"{path}: format {header.get('format')!r}, this version reads {FORMAT}; is it a dump of --npu-datadump?"
        )
    last = _parse(path, len(lines), lines[-1])
    if last.get("end") != len(lines) - 2:
        raise DumpError(
            f"{path} was not written to its end: {len(lines) - 1} records, and no line that counts them"
        )
    return [_record(path, n, _parse(path, n, text)) for n, text in enumerate(lines[1:-1], 2)]
