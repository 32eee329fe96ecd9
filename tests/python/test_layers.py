# SPDX-License-Identifier: Apache-2.0
"""Who may use whom: folders by their includes (base <- runtime, tensor <- exec <- ops, hccl), files within a folder
by their calls.

The order of files is drawn in docs/architecture.md, and read from there: a block that begins with
"order of src/FOLDER", then a line per layer, the callers above: a name, two blanks or more, the files, without
"hc_" and suffix; patterns ("algorithms/direct_*") stand for all files that they match. A file calls only files of
lower lines: not those beside it either. A folder is checked once it has such a block; to order another one (hccl
with its folders, say), draw it there, and nothing here changes.

Calls are found in the sources: a function, variable or function-like macro that is defined in one file of a folder and
named in another. What a header defines (inline functions, macros) belongs to the .c file of its name. Lists of the
form HC_FOR_... are data, not calls.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
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


# text by file: "event" is hc_event.c, event.c and hc_event.h of a folder, "bootstrap/host" those in one below it
Sources = dict[str, list[tuple[str, str]]]

DRAWING = re.compile(r"^    order of src/([\w/]+)[^\n]*\n((?:      [^\n]*\n)+)", re.MULTILINE)
WORDLESS = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)
DEFINITION = re.compile(
    r"^(?!static |#|typedef |enum (?:\w+ )?\{|extern )(?:[A-Za-z_]\w*[ *]+)+(\w+)\s*(?:\([^;{]*\)\s*\{|=|;|\[)",
    re.MULTILINE,
)
INLINE = re.compile(r"^static inline [\w *]*?(\w+)\([^;{]*\) \{.*?(?:^\}|\}$)", re.MULTILINE | re.DOTALL)
MACRO = re.compile(r"^#define (?!HC_FOR_)(\w+)\((?:[^\n]*\\\n)*[^\n]*", re.MULTILINE)
PROTOTYPE = re.compile(
    r"^(?!static |typedef |#)(?:[A-Za-z_]\w*[ *]+)+(hc_\w+)\([^{]*?\)[^{;]*;", re.MULTILINE
)


def read_sources(folder: str) -> Sources:
    found: Sources = {}
    for path in sorted((SRC / folder).rglob("*.[ch]")):
        below = path.relative_to(SRC / folder)
        name = (below.parent / below.stem.removeprefix("hc_")).as_posix()
        text = WORDLESS.sub(" ", path.read_text(encoding="utf-8"))
        found.setdefault(name, []).append((path.suffix, text))
    return found


@cache
def defined(suffix: str, text: str) -> set[str]:
    pattern = [DEFINITION] if suffix == ".c" else [INLINE, MACRO]
    return {match[1] for p in pattern for match in p.finditer(text)}


@cache
def named(suffix: str, text: str) -> set[str]:
    """Of a header only what it defines: declarations call nobody."""
    if suffix == ".h":
        text = " ".join(match[0] for p in (INLINE, MACRO) for match in p.finditer(text))
    return set(re.findall(r"\b[A-Za-z_]\w*\b", text))


def calls(sources: Sources) -> Iterator[tuple[str, str, str]]:
    """Caller, callee, what is called."""
    owners: dict[str, set[str]] = {}
    for name, parts in sources.items():
        for part in parts:
            for word in defined(*part):
                owners.setdefault(word, set()).add(name)
    for name, parts in sources.items():
        for word in sorted({word for part in parts for word in named(*part)} & set(owners)):
            if name not in owners[word]:
                yield from ((name, owner, word) for owner in sorted(owners[word]))


def drawings() -> dict[str, list[list[str]]]:
    """By folder the layers, the lowest first, as patterns of file names."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    return {
        folder: [
            re.split(r"  +", line.strip(), maxsplit=1)[1].split() for line in reversed(lines.splitlines())
        ]
        for folder, lines in DRAWING.findall(text)
    }


ORDERED = sorted(drawings())


def places(folder: str, sources: Sources) -> dict[str, list[int]]:
    layers = drawings()[folder]
    return {
        name: [height for height, layer in enumerate(layers) if any(fnmatch(name, entry) for entry in layer)]
        for name in sources
    }


def against_the_order(folder: str, sources: Sources) -> list[str]:
    height = {name: found[0] for name, found in places(folder, sources).items() if found}
    return [
        f"{caller} calls {word} of {callee}, which is not below it"
        for caller, callee, word in calls(sources)
        if caller in height and callee in height and height[callee] >= height[caller]
    ]


@pytest.mark.parametrize("folder", ORDERED)
def test_every_file_has_one_place_in_the_order(folder):
    sources = read_sources(folder)
    for name, found in places(folder, sources).items():
        called = any(defined(*part) for part in sources[name])
        assert len(found) == 1 or (not found and not called), f"{folder}/{name} is in {len(found)} layers"
    for entry in (entry for layer in drawings()[folder] for entry in layer):
        assert any(fnmatch(name, entry) for name in sources), f"there is no {folder}/{entry}"


@pytest.mark.parametrize("folder", ORDERED)
def test_every_declared_function_is_found(folder):
    """Else its callers would go unseen."""
    sources = read_sources(folder)
    found = {word for parts in sources.values() for part in parts for word in defined(*part)}
    declared = {
        m[1]
        for parts in sources.values()
        for suffix, text in parts
        if suffix == ".h"
        for m in PROTOTYPE.finditer(text)
    }
    assert declared and declared <= found, declared - found


@pytest.mark.parametrize("folder", ORDERED)
def test_calls_follow_the_order(folder):
    assert against_the_order(folder, read_sources(folder)) == []


@pytest.mark.parametrize("folder", ORDERED)
def test_a_call_against_the_order_is_found(folder):
    """Every call there is, the other way round."""
    sources = read_sources(folder)
    allowed = {(caller, callee) for caller, callee, _ in calls(sources)}
    assert allowed
    for caller, callee in sorted(allowed):
        words = sorted(
            word for suffix, text in sources[caller] if suffix == ".c" for word in defined(suffix, text)
        )
        if not words:
            continue
        added = {
            **sources,
            callee: [*sources[callee], (".c", f"static void added(void) {{ {words[0]}(); }}")],
        }
        assert against_the_order(folder, added), f"{callee} may call {words[0]} of {caller}"
