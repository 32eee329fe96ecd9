# SPDX-License-Identifier: Apache-2.0
"""Where two dumps part: the first record, in the order of execution, whose statistics differ by more than a tolerance.

Records are paired by step, rank, module, pass and count. The difference of a pair is the largest of: the norms, relative
to the larger; least and largest element, relative to the larger magnitude; the means, relative to the root mean square.
What only one of the dumps has (a module, a rank, a step) is counted, and never a difference by itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mindspeed.dumping.records import DumpError, Record, read

#: The largest difference that rounding explains, by element type: about a thousand roundings.
TOLERANCES = {"float64": 1e-4, "float32": 1e-4, "bfloat16": 2e-2, "float16": 4e-3, "complex64": 1e-4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two records of one place."""

    step: int
    rank: int
    a: Record
    b: Record
    difference: float
    tolerance: float

    @property
    def parts(self) -> bool:
        return not self.difference <= self.tolerance


@dataclass(slots=True, kw_only=True)
class Comparison:
    """first  the first pair that differs, before  the last one of its rank that did not."""

    compared: int = 0
    differing: int = 0
    only_a: int = 0
    only_b: int = 0
    first: Pair | None = None
    before: Pair | None = None
    largest: Pair | None = None
    lonely_files: list[str] = field(default_factory=list)


def _relative(a: float, b: float, scale: float) -> float:
    if a == b or (math.isnan(a) and math.isnan(b)):
        return 0.0
    if not (math.isfinite(a) and math.isfinite(b)):
        return math.inf
    return abs(a - b) / scale if scale > 0 else math.inf


def difference(a: Record, b: Record) -> float:
    """0 for equal statistics; infinite for other shapes, or another number of elements that are not finite."""
    if a.shape != b.shape:
        return math.inf
    low_a, high_a, mean_a, norm_a, bad_a = a.statistics
    low_b, high_b, mean_b, norm_b, bad_b = b.statistics
    if bad_a != bad_b:
        return math.inf
    norm = max(norm_a, norm_b)
    size = max(abs(value) for value in (low_a, high_a, low_b, high_b))
    count = math.prod(a.shape)
    return max(
        _relative(norm_a, norm_b, norm),
        _relative(low_a, low_b, size),
        _relative(high_a, high_b, size),
        _relative(mean_a, mean_b, norm / math.sqrt(count) if count else 0.0),
    )


def tolerance_of(a: Record, b: Record, asked: float | None) -> float:
    """What was asked for, else the larger of the two element types'; whole numbers must be equal."""
    return asked if asked is not None else max(TOLERANCES.get(r.dtype, 0.0) for r in (a, b))


def files_of(folder: Path) -> dict[tuple[int, int], Path]:
    """(step, rank) -> file."""
    found = {}
    for path in sorted(folder.glob("step*/rank*.jsonl")):
        step, rank = path.parent.name.removeprefix("step"), path.stem.removeprefix("rank")
        if step.isdigit() and rank.isdigit():
            found[int(step), int(rank)] = path
    if not found:
        raise DumpError(f"{folder}: no step*/rank*.jsonl in it; give the folder of --npu-datadump-dir")
    return found


def _pairs(
    step: int, rank: int, files: tuple[Path, Path], asked: float | None, result: Comparison
) -> Iterator[Pair]:
    """In the order of the first dump."""
    ours, theirs = read(files[0]), {record.key: record for record in read(files[1])}
    for a in ours:
        b = theirs.pop(a.key, None)
        if b is None:
            result.only_a += 1
            continue
        yield Pair(
            step=step, rank=rank, a=a, b=b, difference=difference(a, b), tolerance=tolerance_of(a, b, asked)
        )  # fmt: skip
    result.only_b += len(theirs)


def _earlier(pair: Pair, place: int, first: Pair | None, first_place: int) -> bool:
    return first is None or (pair.step, place, pair.rank) < (first.step, first_place, first.rank)


def compare(a: Path, b: Path, tolerance: float | None = None) -> Comparison:
    """All common steps and ranks. DumpError if there is none, or a file is damaged."""
    files_a, files_b = files_of(a), files_of(b)
    result, first_place = Comparison(), 0
    common = sorted(files_a.keys() & files_b.keys())
    if not common:
        raise DumpError(f"{a} and {b} have no step and rank in common")
    result.lonely_files = [
        str(files[key]) for files in (files_a, files_b) for key in sorted(files.keys() - common)
    ]
    for step, rank in common:
        before = None
        files = files_a[step, rank], files_b[step, rank]
        for place, pair in enumerate(_pairs(step, rank, files, tolerance, result)):
            result.compared += 1
            if result.largest is None or pair.difference > result.largest.difference:
                result.largest = pair
            if not pair.parts:
                before = pair
                continue
            result.differing += 1
            if _earlier(pair, place, result.first, first_place):
                result.first, result.before, first_place = pair, before, place
    return result
