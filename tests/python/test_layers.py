# SPDX-License-Identifier: Apache-2.0
"""Who may use whom: folders by their includes (base <- runtime, tensor <- exec <- ops, hccl), files within a folder
by their calls.

The order of files is drawn in docs/architecture.md, and read from there: a block that begins with
"order of src/FOLDER", then a line per layer, the callers above: a name, two blanks or more, the files, without
"hc_" and suffix; patterns ("algorithms/direct_*") stand for all files that they match. A file calls only files of
lower lines: not those beside it either. A folder is checked once it has such a block; to order another one (hccl
with its folders, say), draw it there, and nothing here changes.

Calls are found in the sources: a function, variable or macro with arguments that is defined in one file of a folder and
named in another. What a header defines (inline functions, macros) belongs to the .c file of its name. Lists of the
form HC_FOR_... are data, not calls.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import cache
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


DRAWING = re.compile(r"^    order of src/([\w/]+)[^\n]*\n((?:      [^\n]*\n)+)", re.MULTILINE)
WORDLESS = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)
DEFINITION = re.compile(
    r"^(?!static |typedef |extern )[A-Za-z_][\w *]*?[ *](\w+)\s*(?:\([^;{]*\)\s*\{|=|;|\[)", re.MULTILINE
)
INLINE = re.compile(r"^static inline [\w *]*?(\w+)\([^;{]*\) \{.*?(?:^\}|\}$)", re.MULTILINE | re.DOTALL)
MACRO = re.compile(r"^#define (?!HC_FOR_)(HC_\w+)\((?:[^\n]*\\\n)*[^\n]*", re.MULTILINE)
PROTOTYPE = re.compile(r"^(?!static |typedef )[A-Za-z_][\w *]*?[ *](hc_\w+)\([^{;]*\)[^{;]*;", re.MULTILINE)
WORD = re.compile(r"\b[A-Za-z_]\w*\b")


@dataclass
class Node:
    """A .c file and the header of its name: what both define, what the header declares, what they name."""

    defines: set[str]
    declares: set[str]
    names: set[str]


@cache
def read_sources(folder: str) -> dict[str, Node]:
    """By name: "event" is hc_event.c, event.c and hc_event.h of the folder, "bootstrap/host" those in one below it."""
    found: dict[str, Node] = {}
    for path in sorted((SRC / folder).rglob("*.[ch]")):
        below = path.relative_to(SRC / folder)
        node = found.setdefault(
            (below.parent / below.stem.removeprefix("hc_")).as_posix(), Node(set(), set(), set())
        )
        text = WORDLESS.sub(" ", path.read_text(encoding="utf-8"))
        if path.suffix == ".c":
            node.defines |= {match[1] for match in DEFINITION.finditer(text)}
        else:
            bodies = [match for pattern in (INLINE, MACRO) for match in pattern.finditer(text)]
            node.defines |= {match[1] for match in bodies}
            node.declares |= {match[1] for match in PROTOTYPE.finditer(text)}
            text = " ".join(match[0] for match in bodies)  # declarations call nobody
        node.names |= set(WORD.findall(text))
    return found


def calls(nodes: dict[str, Node]) -> Iterator[tuple[str, str, str]]:
    """Caller, callee, what is called."""
    owners: dict[str, set[str]] = {}
    for name, node in nodes.items():
        for word in node.defines:
            owners.setdefault(word, set()).add(name)
    for name, node in nodes.items():
        for word in sorted(node.names & set(owners)):
            if name not in owners[word]:
                yield from ((name, owner, word) for owner in sorted(owners[word]))


@cache
def drawings() -> dict[str, list[list[str]]]:
    """By folder the layers, the lowest first, as patterns of names."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    return {
        folder: [
            re.split(r"  +", line.strip(), maxsplit=1)[1].split() for line in reversed(lines.splitlines())
        ]
        for folder, lines in DRAWING.findall(text)
    }


ORDERED = sorted(drawings())


def layers_of(folder: str, name: str) -> list[int]:
    return [
        height
        for height, layer in enumerate(drawings()[folder])
        if any(fnmatch(name, entry) for entry in layer)
    ]


def against_the_order(folder: str, found: Iterable[tuple[str, str, str]]) -> list[str]:
    height = {name: layers[0] for name in read_sources(folder) if (layers := layers_of(folder, name))}
    return [
        f"{caller} calls {word} of {callee}, which is not below it"
        for caller, callee, word in found
        if caller in height and callee in height and height[callee] >= height[caller]
    ]


def test_folders_with_an_order():
    assert {"base", "runtime"} <= set(ORDERED)


@pytest.mark.parametrize("folder", ORDERED)
def test_every_file_has_one_place_in_the_order(folder):
    nodes = read_sources(folder)
    for name, node in nodes.items():
        count = len(layers_of(folder, name))
        assert count == 1 or (count == 0 and not node.defines), f"{folder}/{name} is in {count} layers"
    for entry in (entry for layer in drawings()[folder] for entry in layer):
        assert any(fnmatch(name, entry) for name in nodes), f"there is no {folder}/{entry}"


@pytest.mark.parametrize("folder", ORDERED)
def test_every_declared_function_is_found(folder):
    """Else its callers would go unseen."""
    nodes = read_sources(folder).values()
    declared = {word for node in nodes for word in node.declares}
    assert declared
    assert sorted(declared - {word for node in nodes for word in node.defines}) == []


@pytest.mark.parametrize("folder", ORDERED)
def test_calls_follow_the_order(folder):
    assert against_the_order(folder, calls(read_sources(folder))) == []


@pytest.mark.parametrize("folder", ORDERED)
def test_a_call_against_the_order_is_found(folder):
    """Each pair that calls, the other way round: a word of the caller, added to the callee."""
    nodes = read_sources(folder)
    pairs = sorted({(caller, callee) for caller, callee, _ in calls(nodes)})
    assert pairs
    for caller, callee in pairs:
        for word in sorted(nodes[caller].defines)[:1]:
            added = replace(nodes[callee], names=nodes[callee].names | {word})
            back = calls({**nodes, callee: added})
            assert against_the_order(folder, back), f"{callee} may call {word} of {caller}"
