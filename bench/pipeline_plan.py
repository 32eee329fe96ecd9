#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How long a step of `--schedules-method dualpipev` takes next to its plan, where each pass takes a fixed time.

Passes sleep (a forward pass 60 ms, a backward pass twice as long), so any machine has cores enough; messages are real. Printed are
the step, its plan, and what ranks wait of it in the plan and as measured, without and with `--dualpipev-dw-detach` (apart); next to
that what a plain pipeline of as many ranks waits: (P - 1)(F + B) of whole ranks.

    python bench/pipeline_plan.py
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from processes import on_ranks

JOB = Path(__file__).parents[1] / "tests" / "support" / "vee_job.py"
ROWS = ((2, 8), (4, 8), (4, 16), (8, 16))
WAYS = {"": [], "apart": ["apart"]}  # --dualpipev-dw-detach


def row(ranks: int, batches: int, milliseconds: float, way: str) -> str:
    output = on_ranks(ranks, [str(JOB), str(batches), str(milliseconds), *WAYS[way]])
    found = json.loads(next(line for line in output.splitlines() if line.startswith("{")))
    work = batches * 2 * 3 * milliseconds / 1e3
    plain = (ranks - 1) * 2 * 3 * milliseconds / 1e3
    return (
        f"{ranks:5d} {batches:8d} {way:6s} {found['took']:9.2f} {found['plan']:9.2f} {found['took'] / found['plan']:6.3f}"
        f" {found['plan'] / work - 1:12.3f} {found['took'] / work - 1:12.3f} {plain / work:21.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--milliseconds", type=float, default=60, help="of a forward pass (default: %(default)s)"
    )
    options = parser.parse_args()
    print("ranks  batches weights  step, s   plan, s  ratio   waits, plan  waits, seen   of a plain pipeline")
    for ranks, batches in ROWS:
        for way in WAYS:
            print(row(ranks, batches, options.milliseconds, way), flush=True)


if __name__ == "__main__":
    main()
