#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Train the parity test's GPT with other releases of Megatron Core and torch, at every level, against plain PyTorch.

Usage: check_versions.py [--megatron FOLDER ...] [--python PYTHON ...] [--level N ...] [--write]

FOLDER holds a package `megatron`: a checkout of Megatron-LM, or what `pip install --no-deps --target FOLDER megatron-core==V`
makes. PYTHON is the interpreter of an environment with another pair of torch and torch_npu, and this project. Without
either it is the Megatron, or the environment, that runs this. Every combination is one row of the table; --write puts
the rows into docs/versions.md, in place of those with the same versions and level.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from packaging.version import Version  # noqa: E402
from parity import RELATIVE_TOLERANCE, difference, losses, run  # noqa: E402

PAGE = ROOT / "docs" / "versions.md"
HEAD = (
    "| Megatron Core | torch | torch_npu | level | first loss | last loss | difference |",
    "|---|---|---|---|---|---|---|",
)


def row(megatron: str, python: str, level: int) -> str:
    """One line of the table; raises RuntimeError with the end of the output of a run that failed."""
    ours = run("megatron", "--optimization-level", str(level), megatron=megatron, python=python)
    theirs = run("plain", python=python)
    worst, values = difference(ours, theirs), losses(ours)
    said = f"{worst:.1e}" if worst <= RELATIVE_TOLERANCE else f"**{worst:.1e}**"
    found = ours["versions"]
    cells = [found["megatron-core"], found["torch"].partition("+")[0], found["torch_npu"], str(level)]
    return "| " + " | ".join([*cells, f"{values[0]:.6f}", f"{values[-1]:.6f}", said]) + " |"


def key(line: str) -> tuple[Version, Version, Version, int]:
    megatron, torch, torch_npu, level = (cell.strip() for cell in line.split("|")[1:5])
    return Version(megatron), Version(torch), Version(torch_npu), int(level)


def write(rows: list[str]) -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = lines.index(HEAD[1]) + 1
    end = next(i for i in range(start, len(lines) + 1) if i == len(lines) or not lines[i].startswith("|"))
    merged = {key(line): line for line in [*lines[start:end], *rows]}
    lines[start:end] = [merged[one] for one in sorted(merged)]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megatron", nargs="+", default=[""], metavar="FOLDER")
    parser.add_argument("--python", nargs="+", default=[sys.executable], metavar="PYTHON")
    parser.add_argument("--level", nargs="+", type=int, default=[0, 1, 2], metavar="N")
    parser.add_argument("--write", action="store_true", help="put the rows into docs/versions.md")
    args = parser.parse_args()
    print(*HEAD, sep="\n", flush=True)
    rows, failed = [], 0
    for megatron, python, level in itertools.product(args.megatron, args.python, args.level):
        try:
            rows.append(row(megatron, python, level))
            print(rows[-1], flush=True)
        except RuntimeError as error:
            failed += 1
            print(f"{megatron} {python} level {level}: {error}", file=sys.stderr, flush=True)
    if args.write:
        write(rows)
    return 1 if failed or any("**" in line for line in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
