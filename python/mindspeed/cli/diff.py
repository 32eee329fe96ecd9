# SPDX-License-Identifier: Apache-2.0
"""`mindspeed diff A B`: the first place where two dumped runs part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mindspeed.cli.environment import UsageError
from mindspeed.dumping.compare import Comparison, Pair, compare
from mindspeed.dumping.records import STATISTICS, DumpError, Record


def run(a: str, b: str, *, tolerance: float | None, as_json: bool) -> int:
    """Exit code 0 if the runs agree, 1 if they part."""
    for folder in (a, b):
        if not Path(folder).is_dir():
            raise UsageError(f"{folder} is no folder; give two folders that --npu-datadump wrote")
    try:
        result = compare(Path(a), Path(b), tolerance)
    except (DumpError, OSError) as error:
        raise UsageError(str(error)) from error
    print(json.dumps(_object(result), indent=2) if as_json else "\n".join(_lines(result)))
    return 0 if result.first is None else 1


def _pair(pair: Pair | None) -> dict[str, Any] | None:
    if pair is None:
        return None
    sides = {
        side: {"dtype": record.dtype, "shape": record.shape}
        | dict(zip(STATISTICS, map(repr, record.statistics), strict=True))
        for side, record in (("a", pair.a), ("b", pair.b))
    }
    name, direction, call, index = pair.a.key
    return {
        "step": pair.step, "rank": pair.rank, "name": name, "pass": direction, "call": call, "index": index,
        "difference": repr(pair.difference), "tolerance": pair.tolerance, **sides,
    }  # fmt: skip


def _object(result: Comparison) -> dict[str, Any]:
    return {
        "compared": result.compared, "differing": result.differing,
        "only_a": result.only_a, "only_b": result.only_b, "files_without_a_pair": result.lonely_files,
        "first": _pair(result.first), "before": _pair(result.before), "largest": _pair(result.largest),
    }  # fmt: skip


def _row(side: str, record: Record) -> str:
    values = "".join(f"{value:>16.8g}" for value in record.statistics)
    return f"  {side}  {record.dtype:<10}{'x'.join(map(str, record.shape)) or 'scalar':<18}{values}"


def _place(pair: Pair) -> str:
    return f"step {pair.step}, rank {pair.rank}: {pair.a.title}"


def _table(pair: Pair) -> list[str]:
    head = "".join(f"{name:>16}" for name in STATISTICS)
    return [f"     {'dtype':<10}{'shape':<18}{head}", _row("A", pair.a), _row("B", pair.b)]


def _lines(result: Comparison) -> list[str]:
    lines = []
    if result.first is None:
        largest = result.largest
        most = (
            ""
            if largest is None
            else f"; the largest difference is {largest.difference:.3g}, {_place(largest)}"
        )
        lines.append(f"The runs agree in {result.compared} records{most}.")
    else:
        first = result.first
        lines.append(f"The runs part at {_place(first)}")
        lines.append(f"difference {first.difference:.3g}, tolerance {first.tolerance:.3g}")
        lines += _table(first)
        if result.before is not None:
            lines.append(
                f"The last one that agrees: {result.before.a.title} (difference {result.before.difference:.3g})."
            )
        lines.append(f"{result.differing} of {result.compared} records differ.")
    if result.only_a or result.only_b:
        lines.append(
            f"Not compared: {result.only_a} records that only A has, {result.only_b} that only B has."
        )
    if result.lonely_files:
        lines.append(
            f"Not compared: {len(result.lonely_files)} files of steps or ranks that one run has alone."
        )
    return lines
