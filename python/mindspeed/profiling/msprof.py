# SPDX-License-Identifier: Apache-2.0
"""The `msprof` command that torch_npu.profiler calls, as far as virtual NPUs have something to export."""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from mindspeed.cli.environment import UsageError
from mindspeed.profiling import communication, profile, tables, timeline

DESCRIPTION = """Turns a profile of virtual NPUs into tables and a timeline: PROF_*/mindstudio_profiler_output with
msprof_*.json, op_summary_*.csv and op_statistic_*.csv, and PROF_*/analyze with communication.json.
torch_npu.profiler calls it."""
# A thread of torch_npu looks for the tables every 0.1 s, and when it sees them after this program has ended, torch_npu may
# have ended its analysis already, without a word, for nothing but that thread being left.
SEEN_S = 1.0


def _write_table(path: Path, rows: Iterable[list[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


def export(folder: Path) -> None:
    """All files at once: torch_npu reads everything when it sees the first table."""
    found = profile.read(folder)
    to, part = folder / "mindstudio_profiler_output", folder / "mindstudio_profiler_output.part"
    for old in (to, part):
        shutil.rmtree(old, ignore_errors=True)
    part.mkdir(mode=0o750)
    stamp = time.strftime("%Y%m%d%H%M%S")
    (part / f"msprof_{stamp}.json").write_text(json.dumps(timeline.events(found)), encoding="utf-8")
    _write_table(part / f"op_summary_{stamp}.csv", tables.summary(found))
    _write_table(part / f"op_statistic_{stamp}.csv", tables.statistic(found))
    part.rename(to)


def analyze(folder: Path) -> None:
    found = profile.read(folder)
    to = folder / "analyze"
    to.mkdir(mode=0o750, exist_ok=True)
    for name, content in (
        ("communication.json", communication.operations(found)),
        ("communication_matrix.json", communication.matrix(found)),
    ):
        (to / name).write_text(json.dumps(content), encoding="utf-8")


def _profiles(output: Path) -> list[Path]:
    if output.name.startswith("PROF_"):
        return [output]
    found = sorted(path for path in output.glob("PROF_*") if path.is_dir())
    if not found:
        raise UsageError(f"{output} is no profile (PROF_*) and has none in it")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="msprof", description=DESCRIPTION)
    parser.add_argument("--export", choices=("on", "off"), default="off", help="write tables and timeline")
    parser.add_argument("--analyze", choices=("on", "off"), default="off", help="write communication.json")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="PROF", help="the profile, or its parent"
    )
    options, others = parser.parse_known_args(arguments)
    if others:
        parser.error(
            f"{' '.join(others)}: not there for virtual NPUs, whose profiles are exported as text alone"
        )
    if options.export == options.analyze == "off":
        parser.error("nothing to do: give --export=on or --analyze=on")
    try:
        for folder in _profiles(options.output):
            if options.export == "on":
                export(folder)
            if options.analyze == "on":
                analyze(folder)
        if options.export == "on":
            time.sleep(SEEN_S)
    except (UsageError, OSError) as error:
        print(f"msprof: {error}", file=sys.stderr)
        return 1
    return 0
