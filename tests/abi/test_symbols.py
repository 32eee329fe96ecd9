# SPDX-License-Identifier: Apache-2.0
"""The exported symbols of every built library against the interface tables."""

from __future__ import annotations

import csv
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ABI = ROOT / "abi"


def library_folder():
    named = os.environ.get("MINDSPEED_LIB_DIR")
    if named:
        return Path(named)
    from mindspeed.cann import decision

    return decision.root() / "lib64"


def column(table, name):
    """The values of a column; some rows name several functions that are alike."""
    with (ABI / table).open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return {value.strip() for row in rows for value in row[name].split(",")}


@pytest.fixture(scope="module")
def exported():
    """library name -> symbols."""
    libraries = sorted(library_folder().glob("lib*.so"))
    if not libraries:
        pytest.skip("no libraries: install the wheel, or set MINDSPEED_LIB_DIR")
    return {path.name: symbols(path) for path in libraries}


def symbols(library):
    command = ["nm", "--dynamic", "--defined-only", "--format=posix", str(library)]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {line.split()[0].partition("@")[0] for line in listing.splitlines()}


def known():
    operators = column("aclnn.tsv", "operator")
    return (
        column("acl.tsv", "function")
        | column("nnopbase.tsv", "name")
        | column("hccl.tsv", "name")
        | column("lazy_symbols.tsv", "function")
        | column("torch_npu_linked.tsv", "symbol")
        | column("mindspore_linked.tsv", "symbol")
        | operators
        | {f"{name}GetWorkspaceSize" for name in operators}
    )


def test_nothing_is_exported_that_no_table_has(exported):
    tables = known()
    unknown = {
        library: sorted(name for name in names if name not in tables and not name.startswith("hc_"))
        for library, names in exported.items()
    }
    assert {library: names for library, names in unknown.items() if names} == {}


def test_everything_torch_npu_links_is_there(exported):
    everything = set().union(*exported.values())
    assert column("torch_npu_linked.tsv", "symbol") - everything == set()


MAX_WORKSPACE = "GetMaxWorkspaceSize"


def test_every_operator_has_both_phases(exported):
    names = {
        name
        for name in exported["libopapi.so"]
        if name.startswith("aclnn") and not name.endswith(MAX_WORKSPACE)
    }
    first = {name.removesuffix("GetWorkspaceSize") for name in names if name.endswith("GetWorkspaceSize")}
    second = {name for name in names if not name.endswith("GetWorkspaceSize")}
    assert first ^ second == set()


def test_a_longest_workspace_is_asked_for_like_a_workspace(exported):
    """It is the same function by another name, so the rows have the same types."""
    with (ABI / "aclnn.tsv").open(encoding="utf-8", newline="") as file:
        rows = {r["operator"]: r for r in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)}
    asked = [name for name in rows if name.endswith(MAX_WORKSPACE)]
    types = {
        name: [arg.strip().rpartition(" ")[0] for arg in row["arguments"].split(",")]
        for name, row in rows.items()
        if row["arguments"]
    }
    assert set(asked) <= exported["libopapi.so"]
    assert {name for name in asked if types[name] != types[name.removesuffix(MAX_WORKSPACE)]} == set()


def test_the_core_operators_are_there(exported):
    with (ABI / "aclnn.tsv").open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        core = {row["operator"] for row in rows if row["wave"] == "core"}
    assert core - exported["libopapi.so"] == set()


def test_lazy_libraries_are_shipped(exported):
    """A library that cannot be opened throws, where a missing symbol only disables what needs it."""
    assert column("lazy_symbols.tsv", "library") - set(exported) == set()


@pytest.mark.parametrize("name", ["libascendcl.so", "libnnopbase.so", "libopapi.so", "libhccl.so"])
def test_soname_is_the_file_name(name):
    path = library_folder() / name
    if not path.is_file():
        pytest.skip("no libraries: install the wheel, or set MINDSPEED_LIB_DIR")
    dynamic = subprocess.run(["readelf", "-d", str(path)], capture_output=True, text=True, check=True).stdout
    assert f"soname: [{name}]" in dynamic
