#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write docs/features/README.md and matrix.md, and what docs/migrating.md says of this package, from the features as they are installed.

In docs/migrating.md the flags of the original and what they do there are written by hand; the last column is filled in here
where a feature has the first flag of the row, and the table of names comes from mindspeed/absent.py.

Usage: gen_features_doc.py [--check]     --check writes nothing and fails when a document is stale
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import matrix_page
from mindspeed import absent
from mindspeed.adaptor.discovery import all_features
from mindspeed.adaptor.feature import Feature

ROOT = Path(__file__).resolve().parents[1]
FEATURES = ROOT / "docs" / "features" / "README.md"
MATRIX = ROOT / "docs" / "features" / "matrix.md"
MIGRATING = ROOT / "docs" / "migrating.md"
HEAD = """\
# Features

<!-- Written by tools/gen_features_doc.py (`make docs`) from python/mindspeed/features; edits are lost. -->

Level 0 is what Megatron needs to run on an NPU, level 1 the same results by fused operators, level 2 what a flag asks for.
`--optimization-level` chooses (default 2); [the plan](../plan.md) tells what a command would switch on,
and [what works where](matrix.md) with which releases, on which ranks and with which other features each of them works.
"""
TITLES = {
    0: "Level 0: compatibility",
    1: "Level 1: on unless switched off",
    2: "Level 2: asked for by a flag",
}
NOT_YET = "not yet"


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def named(feature: Feature, folder: str) -> str:
    """The name, as a link where there is a page."""
    if (ROOT / "docs" / "features" / f"{feature.name}.md").is_file():
        return f"[{feature.name}]({folder}{feature.name}.md)"
    return feature.name


def row(feature: Feature) -> str:
    flags = ", ".join(f"`{flag.spelling}`" for flag in feature.flags)
    cores = f" Megatron Core before {feature.until}" if feature.until else ""
    cores += f", from {feature.native.since} on its own `{feature.native.flag}`" if feature.native else ""
    cores += "." if cores else ""
    return f"| {named(feature, '')} | {feature.area} | {cell(flags)} | {cell(feature.summary + cores)} |\n"


def features_page() -> str:
    text = HEAD
    for level, title in TITLES.items():
        rows = [row(feature) for feature in all_features() if feature.level == level]
        if rows:
            text += (
                f"\n## {title}\n| feature | area | flags | what it does |\n|---|---|---|---|\n{''.join(rows)}"
            )
    return text


def here(flags: str, written: str) -> str:
    """The last column of a row: the feature that has the first flag, else what somebody wrote."""
    found = re.search(r"`(--[\w-]+)", flags)
    for feature in all_features():
        if found and any(flag.name == found.group(1) for flag in feature.flags):
            return f"feature {named(feature, 'features/')}, level {feature.level:d}"
    return NOT_YET if written.startswith("feature ") else written


def migrating_page(text: str) -> str:
    """The hand-written page with its generated parts as they should be."""

    def table(found: re.Match[str]) -> str:
        rows = [line.strip("| \n").split(" | ") for line in found.group(2).splitlines()]
        return (
            found.group(1) + "".join(f"| {a} | {b} | {here(a, c)} |\n" for a, b, c in rows) + found.group(3)
        )

    def names(found: re.Match[str]) -> str:
        rows = [f"| `{name}` | {cell(sentence)} |\n" for name, sentence in absent.SENTENCES.items()]
        return found.group(1) + "".join(rows) + found.group(3)

    text = re.sub(r"(<!-- flags -->\n.*\n.*\n)((?:\|.*\n)*)(<!-- end -->)", table, text)
    return re.sub(r"(<!-- names -->\n.*\n.*\n)((?:\|.*\n)*)(<!-- end -->)", names, text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="fail when a document is stale")
    check = parser.parse_args().check
    pages = {
        FEATURES: features_page(),
        MATRIX: matrix_page.page(),
        MIGRATING: migrating_page(MIGRATING.read_text(encoding="utf-8")),
    }
    stale = [
        page for page, text in pages.items() if not page.is_file() or page.read_text(encoding="utf-8") != text
    ]
    for page in stale:
        if check:
            print(f"{page.relative_to(ROOT)} is stale: run tools/gen_features_doc.py", file=sys.stderr)
        else:
            page.parent.mkdir(exist_ok=True)
            page.write_text(pages[page], encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
