#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write docs/operators.md: every operator of the built library, its element types and its test.

The names come from the library's symbols and its tables of operators by name, the rest from a record of the tests:

    MINDSPEED_OPERATOR_RECORD=record.json python -m pytest tests/ops
    tools/gen_operators_doc.py record.json [--check] [--lib64 FOLDER]

Where pytest ran with workers (-n), their records lie beside it as record.gw0.json and so on; all count.
--check writes nothing and fails when the document is stale. An operator without a test is an error in either case.
The content depends on the library's symbols and on which calls the tests make, not on the CPU that ran them.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "operators.md"
HEAD = """\
# Operators

<!-- Written by tools/gen_operators_doc.py (`make docs`); edits are lost. -->

{count} operators in `libopapi.so`. Types are those of the first tensor with which the named test computed and
compared results; `in C` marks a test written in C, which records no types. An operator that is not in this list
fails with a message naming it. [Operators by name](#operators-by-name) are at the end.
"""
BY_NAME = """
## Operators by name

{count} operators of the second interface, `aclopCompileAndExecute`: torch_npu calls them where it has no aclnn operator,
among others for every copy between devices that is not contiguous or changes the element type. An input in brackets is
a list of integers. Attributes that begin with `_` are hints to the vendor's compiler, and are ignored.

| operator | family | meaning | operands | attributes | types | test |
|---|---|---|---|---|---|---|
"""
SHORT = {"float": "f", "bfloat": "bf", "complex": "c", "uint": "u", "int": "i"}
ORDER = "float32 bfloat16 float16 float64 int8 int16 int32 int64 uint8 bool complex64 complex128".split()


def exported(library: Path) -> list[str]:
    command = ["nm", "--dynamic", "--defined-only", "--format=posix", str(library)]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    names = {line.split()[0] for line in listing.splitlines()}
    return sorted(n for n in names if n.startswith("aclnn") and f"{n}GetWorkspaceSize" in names)


def installed() -> Path:
    from mindspeed.cann import decision

    return decision.root() / "lib64"


def operators_by_name(library: Path) -> list[list[str]]:
    """family, type, operands, attributes, meaning of each, by type."""
    loaded = [
        ctypes.CDLL(str(library.parent / f"lib{name}.so"), mode=ctypes.RTLD_GLOBAL)
        for name in ("ascendcl", "nnopbase", "opapi")
    ]
    text, rows = ctypes.create_string_buffer(1024), []
    describe = loaded[0].hc_by_name_describe
    describe.restype = ctypes.c_bool
    while describe(ctypes.c_size_t(len(rows)), text, ctypes.c_size_t(len(text))):
        rows.append(text.value.decode().split("\t"))
    return sorted(rows, key=lambda row: row[1])


def table() -> dict[str, dict[str, str]]:
    with (ROOT / "abi" / "aclnn.tsv").open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return {row["operator"]: row for row in rows}


def c_tests() -> dict[str, list[str]]:
    """operator -> C test files that name it."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.c")):
        for name in set(
            re.findall(r"\b(aclnn\w+?)(?:GetWorkspaceSize)?\b", path.read_text(encoding="utf-8"))
        ):
            found.setdefault(name, []).append(str(path.relative_to(ROOT)))
    return found


def short(name: str) -> str:
    for long, letter in SHORT.items():
        if name.startswith(long):
            return letter + name.removeprefix(long)
    return name


def types_of(names: list[str]) -> str:
    return " ".join(short(n) for n in sorted(names, key=lambda n: (ORDER.index(n) if n in ORDER else 99, n)))


def links_of(tests: list[str]) -> str:
    return ", ".join(f"[{Path(t).stem}](../{t})" for t in tests) or "none"


def by_name(library: Path, record: dict[str, dict[str, list[str]]]) -> tuple[str, list[str]]:
    """(the section of operators by name, those without a test)."""
    lines, untested = [], []
    for family, name, operands, attributes, meaning in operators_by_name(library):
        entry = record.get(name, {"types": [], "tests": []})
        if not entry["tests"]:
            untested.append(name)
        cells = (f"`{name}`", family, meaning, operands, attributes, types_of(entry["types"]))
        lines.append(f"| {' | '.join(cells)} | {links_of(entry['tests'])} |\n")
    return BY_NAME.format(count=len(lines)) + "".join(lines), untested


def generate(library: Path, record: dict[str, dict[str, list[str]]]) -> tuple[str, list[str]]:
    """(the document, operators without a test)."""
    names, rows, in_c = exported(library), table(), c_tests()
    groups: dict[str, list[str]] = {}
    untested = []
    for name in names:
        entry = record.get(name)
        tests = entry["tests"] if entry else in_c.get(name, [])
        if not tests:
            untested.append(name)
        types = types_of(entry["types"]) if entry else "in C" if tests else ""
        links = links_of(tests)
        meaning = rows.get(name, {}).get("meaning", "").replace("|", "\\|")
        group = rows.get(name, {}).get("category") or "other"
        groups.setdefault(group, []).append(f"| `{name}` | {meaning} | {types} | {links} |")
    parts = [HEAD.format(count=len(names))]
    for group in sorted(groups):
        lines = "\n".join(groups[group])
        parts.append(f"\n## {group}\n\n| operator | meaning | types | test |\n|---|---|---|---|\n{lines}\n")
    section, more = by_name(library, record)
    return "".join(parts) + section, untested + more


def read_records(path: Path) -> dict[str, dict[str, list[str]]]:
    """The record and those of workers as one."""
    merged: dict[str, dict[str, set[str]]] = {}
    paths = [p for p in (path, *sorted(path.parent.glob(f"{path.stem}.gw*.json"))) if p.is_file()]
    if not paths:
        sys.exit(f"{path}: no such record; run the operator tests with MINDSPEED_OPERATOR_RECORD={path}")
    for part in paths:
        for name, entry in json.loads(part.read_text(encoding="utf-8")).items():
            known = merged.setdefault(name, {kind: set() for kind in entry})
            for kind, values in entry.items():
                known[kind] |= set(values)
    return {name: {kind: sorted(v) for kind, v in entry.items()} for name, entry in sorted(merged.items())}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lib64", type=Path, help="folder of the libraries (default: the installed wheel's)")
    parser.add_argument("record", type=Path, help="record of the operator tests")
    parser.add_argument("--check", action="store_true", help="fail when the document is stale")
    args = parser.parse_args()
    text, untested = generate((args.lib64 or installed()) / "libopapi.so", read_records(args.record))
    if untested:
        print(f"{len(untested)} operators without a test: {', '.join(untested)}", file=sys.stderr)
    if not args.check:
        DOCUMENT.write_text(text, encoding="utf-8")
        print(f"{DOCUMENT.relative_to(ROOT)}: {text.count(chr(10) + '| `')} operators")
        return 1 if untested else 0
    present = DOCUMENT.read_text(encoding="utf-8") if DOCUMENT.is_file() else ""
    if present != text:
        print(f"{DOCUMENT.relative_to(ROOT)} is stale: run `make docs`", file=sys.stderr)
    return 1 if untested or present != text else 0


if __name__ == "__main__":
    sys.exit(main())
