# SPDX-License-Identifier: Apache-2.0
"""Includes point upward only: base <- runtime, tensor <- exec <- ops, hccl."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src"

# layer -> layers whose headers it may include
MAY_INCLUDE = {
    "base": {"base"},
    # Headers only: vectors know the element types, and scalars use the conversions of half floats.
    "simd": {"base", "simd", "tensor"},
    "runtime": {"base", "runtime"},
    "tensor": {"base", "simd", "tensor"},
    "exec": {"base", "runtime", "tensor", "exec"},
    "ops": {"base", "runtime", "tensor", "exec", "simd", "ops"},
    "hccl": {"base", "runtime", "tensor", "exec", "simd", "hccl"},
    "small": {"base", "runtime", "small"},
}
HEADERS = {header.name: header.relative_to(SRC).parts[0] for header in SRC.rglob("*.h")}
SOURCES = sorted(path for path in SRC.rglob("*") if path.suffix in (".c", ".h"))


def included(path: Path) -> list[str]:
    return re.findall(r'^\s*#\s*include\s+"([^"]+)"', path.read_text(encoding="utf-8"), re.MULTILINE)


def test_every_folder_has_a_layer():
    assert {path.relative_to(SRC).parts[0] for path in SOURCES} <= set(MAY_INCLUDE)


def test_header_names_are_unique():
    names = [header.name for header in SRC.rglob("*.h")]
    assert len(names) == len(set(names)), "an #include would be ambiguous"


@pytest.mark.parametrize("layer", sorted(MAY_INCLUDE))
def test_includes_point_upward(layer):
    wrong = [
        f"{path.relative_to(ROOT)} includes {name} of {HEADERS[Path(name).name]}"
        for path in SOURCES
        if path.relative_to(SRC).parts[0] == layer
        for name in included(path)
        if HEADERS.get(Path(name).name, layer) not in MAY_INCLUDE[layer]
    ]
    assert wrong == []


def operator_files():
    return [path for path in (SRC / "ops").rglob("*.c") if path.parent.name != "common"]


def test_operators_include_the_common_layer_alone():
    allowed = {path.name for folder in ("ops/common", "simd") for path in (SRC / folder).glob("*.h")}
    wrong = [
        f"{path.relative_to(ROOT)} includes {name}"
        for path in operator_files()
        for name in included(path)
        if name not in allowed and not (path.parent / name).is_file() and not name.startswith(("acl", "hccl"))
    ]
    assert wrong == []


def test_every_source_names_its_licence():
    wrong = [
        str(path.relative_to(ROOT))
        for path in SOURCES
        if "SPDX-License-Identifier: Apache-2.0" not in path.read_text(encoding="utf-8")[:200]
    ]
    assert wrong == []
