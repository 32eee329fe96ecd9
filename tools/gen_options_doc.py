#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write docs/options.md from the library's table of options (src/base/hc_option.h), as it is installed.

Usage: gen_options_doc.py [--check]     --check writes nothing and fails when the document is stale
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mindspeed import options

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "options.md"
HEAD = """\
# Options

<!-- Written by tools/gen_options_doc.py (`make docs`) from src/base/hc_option.h; edits are lost. -->

Environment variables. `mindspeed env --list` (or `--list --json`) prints them with their present values. A value that is
not valid is an error that names the variable, the value and what is valid: from `aclInit`, when the first device is used,
for what the libraries and the Python package read; from `mindspeed env --list` and `mindspeed doctor` for all. An empty
value counts as unset. A name that begins with `MINDSPEED_` or `HC_` and is not here, or that is a misspelt `HCCL_` one of
these, is told on stderr once per process, with the name that was meant.
"""
# What a row's readers make it, first match: heading, and the readers.
SECTIONS = (
    ("Read by MindSpeed", ("the libraries", "the Python package")),
    ("Read by others", ("PyTorch", "torch_npu", "the examples")),
    ("Read by the tests", ("the tests",)),
)
COLUMNS = "| variable | default | valid | meaning | read by |\n|---|---|---|---|---|\n"


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def row(option: options.Option) -> str:
    default = f"`{option.default}`" if option.default else ""
    cells = (f"`{option.name}`", default, option.expected, option.meaning, option.readers)
    return "| " + " | ".join(cell(text) for text in cells) + " |\n"


def section_of(option: options.Option) -> str:
    readers = option.readers.split(", ")
    return next(heading for heading, of in SECTIONS if any(reader in of for reader in readers))


def generate() -> str:
    text = HEAD
    for heading, _ in SECTIONS:
        rows = [row(option) for option in options.table() if section_of(option) == heading]
        text += f"\n## {heading}\n{COLUMNS}{''.join(rows)}"
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="fail when the document is stale")
    text = generate()
    if not parser.parse_args().check:
        DOCUMENT.write_text(text, encoding="utf-8")
        return 0
    if not DOCUMENT.is_file() or DOCUMENT.read_text(encoding="utf-8") != text:
        print(f"{DOCUMENT.relative_to(ROOT)} is stale: run `make docs`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
