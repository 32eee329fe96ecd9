# SPDX-License-Identifier: Apache-2.0
"""The report of megatron_unit_tests.py in a page: a row for every file of tests, and one for every reason of a failure.

The page is the record that is kept: files that have no result in the state of this run keep their rows, so the tests can be run
in parts, on different machines, and a lost state costs nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

BEGIN = "<!-- Below, to the next such line: written by tools/megatron_unit_tests.py{} -->"
END = "<!-- End of what tools/megatron_unit_tests.py{} writes -->"
OPEN = "Not run yet"
COUNTS = re.compile(r"\| (\S+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|")
REASON = re.compile(r"\| (\d+) \| (\S+) \| (.*) \|")
FAILS = "| tests | file | fails: why |"
ELSEWHERE = "| tests | file | elsewhere only: why |"


@dataclass(frozen=True)
class Report:
    """One suite's: what stands behind the tool's name in the lines around it, and before a version in its headings."""

    mark: str = ""
    prefix: str = "core_v"

    @property
    def begin(self) -> str:
        return BEGIN.format(self.mark)

    @property
    def end(self) -> str:
        return END.format(self.mark)

    @property
    def heading(self) -> str:
        return f"### {self.prefix}"


@dataclass
class Row:
    """What became of the tests of a file: how many, and the reasons with the number of tests that they are of."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    elsewhere: int = 0
    why_elsewhere: dict[str, int] = field(default_factory=dict)
    why_failed: dict[str, int] = field(default_factory=dict)


@dataclass
class Section:
    """One release of whose tests they are."""

    rows: dict[str, Row] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)  # files without a row


def read_sections(page: str, report: Report) -> dict[str, Section]:
    """What stands between the marks of a page, by release."""
    sections: dict[str, Section] = {}
    section, failing = Section(), False
    for line in page.partition(report.begin)[2].partition(report.end)[0].splitlines():
        if line.startswith(report.heading):
            section = sections.setdefault(line.removeprefix(report.heading), Section())
        elif line in (FAILS, ELSEWHERE):
            failing = line == FAILS
        elif line.startswith(OPEN):
            section.left = line.partition(": ")[2].removesuffix(".").split(", ")
        elif counts := COUNTS.fullmatch(line):
            row = section.rows.setdefault(counts[1], Row())
            row.passed, row.failed, row.skipped, row.elsewhere = map(int, counts.groups()[1:])
        elif reason := REASON.fullmatch(line):
            row = section.rows.setdefault(reason[2], Row())
            (row.why_failed if failing else row.why_elsewhere)[reason[3]] = int(reason[1])
    return sections


def reasons(rows: dict[str, Row], failing: bool) -> list[str]:
    return [
        f"| {number} | {name} | {why} |"
        for name, row in sorted(rows.items())
        for why, number in (row.why_failed if failing else row.why_elsewhere).items()
    ]


def summary(rows: dict[str, Row]) -> str:
    passed, failed, skipped, elsewhere = (
        sum(getattr(row, name) for row in rows.values())
        for name in ("passed", "failed", "skipped", "elsewhere")
    )
    return (
        f"{len(rows)} files: {passed} tests pass, {failed} fail, {skipped} skip themselves; {elsewhere} ask for what is "
        f"elsewhere only. Of what can run here {100 * passed / max(passed + failed, 1):.1f} % pass."
    )


def render(heading: str, section: Section) -> list[str]:
    rows, left = section.rows, [name for name in section.left if name not in section.rows]
    lines = [heading, "", summary(rows), ""]
    if left:
        lines += [f"{OPEN} ({len(left)} of {len(rows) + len(left)} files): {', '.join(left)}.", ""]
    for head, failing in ((ELSEWHERE, False), (FAILS, True)):
        if found := reasons(rows, failing):
            lines += [head, "|---|---|---|", *found, ""]
    lines += ["| file | passed | failed | skipped | elsewhere |", "|---|---|---|---|---|"]
    lines += [
        f"| {name} | {row.passed} | {row.failed} | {row.skipped} | {row.elsewhere} |"
        for name, row in sorted(rows.items())
    ]
    return [*lines, ""]


def update(path: Path, report: Report, found: dict[str, dict[str, Row]], known: dict[str, list[str]]) -> None:
    """Write rows of files, by release, next to those that the page has of other files. `known` are the files that a release
    consists of, where they are known."""
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(report.begin)
    _inside, end_mark, after = rest.partition(report.end)
    if not begin or not end_mark:
        raise SystemExit(
            f"{path} lacks the lines that say where the report goes:\n{report.begin}\n{report.end}"
        )
    sections = read_sections(text, report)
    for version, rows in found.items():
        sections.setdefault(version, Section()).rows.update(rows)
    for version, names in known.items():
        sections.setdefault(version, Section()).left = names
    lines = [line for v in sorted(sections) for line in render(report.heading + v, sections[v])]
    path.write_text(before + "\n".join([begin, "", *lines]) + "\n" + end_mark + after, encoding="utf-8")
