#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measure the tree against the budgets of the style guide; exit code 1 when one is broken.

Usage: measure.py [--worst N]
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import lizard

ROOT = Path(__file__).resolve().parents[1]
SOURCE_FOLDERS = ("src", "include", "python", "tools", "bench", "examples")
SUFFIXES = (".c", ".h", ".py")

FUNCTION_MEDIAN, FUNCTION_P95, FUNCTION_MAX, KERNEL_MAX = 15, 60, 100, 150
FILE_MEDIAN, FILE_MAX = 250, 800
# The style guide aims at 0.15 and 0.5; these are the floors reached so far, which must not sink.
COMMENTS_MIN, COMMENTS_MAX = 0.145, 0.30
TESTS_PER_SOURCE = 0.3


@dataclass(frozen=True, slots=True)
class Function:
    """One function: where, and how many lines from its first to its last."""

    file: Path
    name: str
    lines: int
    is_kernel: bool


def files(folders: Sequence[str]) -> list[Path]:
    found = [
        path for folder in folders for path in sorted((ROOT / folder).rglob("*")) if path.suffix in SUFFIXES
    ]
    return [path for path in found if "__pycache__" not in path.parts]


def kernel_pass(text: str) -> range:
    """Lines of the half of an operator file that is compiled once per instruction set."""
    start = None
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(r"#if(def HC_ISA$| defined\(HC_ISA\))", line):
            start = number
        elif start is not None and re.match(r"#(else|endif)", line):
            return range(start, number)
    return range(0)


def functions(path: Path) -> Iterator[Function]:
    text = path.read_text(encoding="utf-8")
    kernels = kernel_pass(text)
    in_simd = "simd" in path.parts
    for found in lizard.analyze_file.analyze_source_code(str(path), text).function_list:
        is_kernel = in_simd or found.start_line in kernels or "kernel" in path.name
        yield Function(path, found.name, found.end_line - found.start_line + 1, is_kernel)


def comment_ratio(paths: Sequence[Path]) -> float:
    """Lines that hold a comment, licence lines apart, per line of code."""
    comments = code = 0
    for path in paths:
        in_block = False
        for line in path.read_text(encoding="utf-8").splitlines():
            text = line.strip()
            if not text or "SPDX-License-Identifier" in text:
                continue
            starts = text.startswith(("//", "/*")) or in_block
            comments += starts or "/*" in text or "//" in text
            code += not starts
            in_block = (in_block or "/*" in text) and "*/" not in text.rpartition("/*")[2]
    return comments / max(code, 1)


def percentile(values: Sequence[int], share: float) -> int:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


class Gate:
    """Prints one line per budget and remembers what is broken."""

    def __init__(self) -> None:
        self.broken = 0

    def check(self, name: str, value: float, low: float, high: float) -> None:
        right = low <= value <= high
        self.broken += not right
        bound = (
            f"<= {high:g}" if low == 0 else f">= {low:g}" if high == float("inf") else f"{low:g} to {high:g}"
        )
        print(f"{'ok  ' if right else 'FAIL'} {name:<34}{value:>8.3g}   {bound}")


def lines_of(paths: Sequence[Path]) -> list[int]:
    return [len(path.read_text(encoding="utf-8").splitlines()) for path in paths]


def same_names(paths: Sequence[Path]) -> list[str]:
    """Test files that share a name: pytest imports them by it, and the second one fails to be collected."""
    names = Counter(path.name for path in paths)
    return [f"{path.relative_to(ROOT)}" for path in paths if names[path.name] > 1]


def list_over(title: str, entries: Sequence[tuple[int, str]]) -> None:
    for lines, name in sorted(entries, reverse=True):
        print(f"     {title}: {lines:4} {name}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worst", type=int, default=0, metavar="N", help="also list the N longest functions")
    args = parser.parse_args()

    sources = files(SOURCE_FOLDERS)
    found = [function for path in sources for function in functions(path)]
    plain = [f.lines for f in found if not f.is_kernel]
    gate = Gate()
    gate.check("lines of a function, median", statistics.median(plain), 0, FUNCTION_MEDIAN)
    gate.check("lines of a function, p95", percentile(plain, 0.95), 0, FUNCTION_P95)
    gate.check("lines of a function, max", max(plain), 0, FUNCTION_MAX)
    gate.check(
        "lines of a kernel, max", max((f.lines for f in found if f.is_kernel), default=0), 0, KERNEL_MAX
    )
    list_over("too long", [
        (f.lines, f"{f.file.relative_to(ROOT)}: {f.name}")
        for f in found if f.lines > (KERNEL_MAX if f.is_kernel else FUNCTION_MAX)
    ])  # fmt: skip
    sizes = lines_of(sources)
    gate.check("lines of a file, median", statistics.median(sizes), 0, FILE_MEDIAN)
    gate.check("lines of a file, max", max(sizes), 0, FILE_MAX)
    list_over("too long", [
        (size, str(path.relative_to(ROOT))) for size, path in zip(sizes, sources, strict=True) if size > FILE_MAX
    ])  # fmt: skip
    c_sources = [path for path in files(["src"]) if path.suffix in (".c", ".h")]
    gate.check("comment lines per code line, src", comment_ratio(c_sources), COMMENTS_MIN, COMMENTS_MAX)
    tests, product = sum(lines_of(files(["tests"]))), sum(lines_of(files(["src", "include", "python"])))
    gate.check("test lines per source line", tests / product, TESTS_PER_SOURCE, float("inf"))
    twice = same_names([path for path in files(["tests"]) if path.match("test_*.py")])
    gate.check("test files of one name", len(twice), 0, 0)
    for name in twice:
        print(f"     {name}")
    if args.worst:
        list_over("longest", [
            (f.lines, f"{f.file.relative_to(ROOT)}: {f.name}")
            for f in sorted(found, key=lambda f: -f.lines)[: args.worst]
        ])  # fmt: skip
    print(f"{len(found)} functions, {len(sources)} files, {sum(sizes)} lines, {tests} of tests")
    return 1 if gate.broken else 0


if __name__ == "__main__":
    sys.exit(main())
