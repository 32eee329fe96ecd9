# SPDX-License-Identifier: Apache-2.0
"""The report of conformance.py in a page: of each folder totals, reasons, and the files that do not pass whole."""

from __future__ import annotations

import collections
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from conformance_reasons import ELSEWHERE, HEADINGS, UNDECIDED, reason_of

# What the report writes stands below this line; above it, text written by hand stays.
MARK = "<!-- Below: written by tools/conformance.py -->"
Reasons = collections.Counter[tuple[str, str]]


@dataclass
class Row:
    """Of one file. Tests that their authors skip count where they pass; why they do not is kept apart."""

    name: str
    passed: int = 0
    skipped: int = 0
    authors_pass: int = 0
    why: Reasons = field(default_factory=collections.Counter)
    authors_why: Reasons = field(default_factory=collections.Counter)

    @property
    def failed(self) -> int:
        return sum(self.why.values())

    @property
    def kinds(self) -> set[str]:
        return {kind for kind, _ in self.why}


def row_of(name: str, tests: Iterable[dict[str, str]]) -> Row:
    row = Row(name)
    for test in tests:
        if test["kind"] == "passed":
            row.passed += 1
            row.authors_pass += bool(test["authors_skip"])
        elif test["kind"] == "skipped" or test["authors_skip"]:
            row.skipped += 1
            if test["kind"] == "failed":
                row.authors_why[reason_of(name, test["test"], test["text"])] += 1
        else:
            row.why[reason_of(name, test["test"], test["text"])] += 1
    return row


def words(why: Reasons) -> str:
    """`aclnnX` 3 (aclnn operator missing); result differs"""
    parts = []
    for kind, heading in HEADINGS.items():
        reasons = [(reason, n) for (k, reason), n in why.most_common() if k == kind]
        if reasons:
            listed = ", ".join(f"{reason} {n}" if n > 1 else reason for reason, n in reasons)
            parts.append(f"{heading}: {listed}")
    return "; ".join(parts).replace("|", "/")


def share(rows: list[Row]) -> str:
    whole = sum(1 for r in rows if not r.why and r.passed)
    skipped = sum(1 for r in rows if not r.why and not r.passed)
    elsewhere = sum(1 for r in rows if r.kinds == {ELSEWHERE})
    undecided = sum(1 for r in rows if UNDECIDED in r.kinds and r.kinds <= {ELSEWHERE, UNDECIDED})
    rest = len(rows) - skipped - elsewhere - undecided
    return (
        f"Files: {len(rows)}; {whole} pass whole, {skipped} are skipped whole by themselves, {elsewhere} fail only for "
        f"{HEADINGS[ELSEWHERE]}, {undecided} were not decided. Of the {rest} others {100 * whole / max(rest, 1):.1f} % pass whole."
    )


def by_kind(rows: list[Row]) -> list[str]:
    lines = ["| tests | files | why they fail | most often |", "|---|---|---|---|"]
    for kind, heading in HEADINGS.items():
        reasons: collections.Counter[str] = collections.Counter()
        for row in rows:
            reasons.update({reason: n for (k, reason), n in row.why.items() if k == kind})
        files = sum(1 for row in rows if kind in row.kinds)
        most = ", ".join(f"{reason} {n}" for reason, n in reasons.most_common(12)).replace("|", "/")
        lines.append(f"| {reasons.total()} | {files} | {heading} | {most or '-'} |")
    return lines


def not_run(files: dict[str, dict], of_checkout: list[str]) -> list[str]:
    left = [name for name in of_checkout if name not in files]
    if not left:
        return []
    return [f"Not run yet ({len(left)} of {len(of_checkout)} files): {', '.join(left)}.", ""]


def folder_report(folder: str, files: dict[str, dict], of_checkout: list[str]) -> list[str]:
    rows = [row_of(name, result["tests"]) for name, result in sorted(files.items())]
    failing = [row for row in rows if row.why]
    left = [row for row in rows if row.authors_why]
    authors = sum(row.authors_pass for row in rows)
    lines = [
        f"### {folder}", "", share(rows), "",
        f"Tests: {sum(r.passed for r in rows)} pass, {sum(r.failed for r in rows)} fail, {sum(r.skipped for r in rows)} are "
        f"skipped. Of those that pass, their authors skip {authors}; {sum(r.authors_why.total() for r in rows)} that they skip "
        "do not pass and count as skipped.", "",
        *not_run(files, of_checkout), *by_kind(rows), "",
        f"#### {folder}: files that do not pass whole", "",
        "| file | passed | failed | skipped | why |", "|---|---|---|---|---|",
        *(f"| {r.name} | {r.passed} | {r.failed} | {r.skipped} | {words(r.why)} |" for r in failing), "",
    ]  # fmt: skip
    if left:
        lines += [
            f"#### {folder}: tests that their authors skip and that do not pass",
            "",
            "| tests | file | why |",
            "|---|---|---|",
            *(f"| {r.authors_why.total()} | {r.name} | {words(r.authors_why)} |" for r in left),
            "",
        ]
    return lines


def report(state: dict) -> str:
    lines = [
        MARK,
        "",
        f"op-plugin at {state.get('commit', 'unknown')}, run on {state.get('date', 'unknown')}.",
        "",
    ]
    for folder, files in sorted(state["folders"].items(), reverse=True):
        lines += folder_report(folder, files, state.get("files", {}).get(folder, []))
    return "\n".join(lines).rstrip() + "\n"


def write_below_mark(path: Path, text: str) -> None:
    above = path.read_text(encoding="utf-8").partition(MARK)[0] if path.is_file() else ""
    path.write_text(above + text, encoding="utf-8")
