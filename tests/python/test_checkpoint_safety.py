# SPDX-License-Identifier: Apache-2.0
"""Damaged and hostile checkpoints: one sentence each, nothing of theirs runs, and the others are still there."""

from __future__ import annotations

import argparse
import json
import pickle
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import forked
import pytest

SUPPORT = Path(__file__).parents[1] / "support"
COUNT = 220
# Changes of a file that its list was made to fit may be of a tensor's numbers: then there is nothing to complain of.
MAY_LOAD = {"flipped", "swapped", "other_metadata", "other_backend"}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("damaged")
    done = forked.run([str(SUPPORT / "damaged_checkpoints.py"), str(folder), "1", str(COUNT)], timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads(line[5:]) for line in done.stdout.splitlines() if line.startswith("CASE ")]


def of(cases: list[dict[str, Any]], *names: str) -> Iterator[dict[str, Any]]:
    return (case for case in cases if case["case"] in names)


def damaged(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [case for case in cases if "fits" in case]


def test_the_untouched_one_loads(cases: list[dict[str, Any]]) -> None:
    assert [case["said"] for case in of(cases, "untouched")] == ["loaded"]


def test_each_is_refused_in_one_sentence(cases: list[dict[str, Any]]) -> None:
    found = damaged(cases)
    assert len(found) > COUNT and min(Counter(case["case"] for case in found).values()) >= 7
    for case in found:
        refused = case["said"].startswith("UserError: ") and "\n" not in case["said"]
        assert refused or (case["said"] == "loaded" and case["fits"] and case["case"] in MAY_LOAD), case


def test_nothing_runs_and_nothing_is_lost(cases: list[dict[str, Any]]) -> None:
    assert not [case for case in damaged(cases) if case["executed"] or case["lost"]]


def test_pickles_that_run_something_are_named(cases: list[dict[str, Any]]) -> None:
    found = [case["said"] for case in of(cases, "payload")]
    for said in found:
        assert "which is not allowed in a checkpoint" in said, said
        assert ".system" in said or "copy_reg._reconstructor" in said, said
    for name in ("common.pt", ".metadata", "the object '"):
        assert any(name in said for said in found), name


def test_the_payload_is_alive(tmp_path: Path) -> None:
    """Plain unpickling runs it: what the others show is not for want of a payload."""
    sys.path.insert(0, str(SUPPORT))
    try:
        from damaged_checkpoints import Payload
    finally:
        sys.path.remove(str(SUPPORT))
    pickle.loads(pickle.dumps(Payload(tmp_path / "executed")))
    assert (tmp_path / "executed").exists()


def test_what_megatron_itself_saves_is_data() -> None:
    """Cached plans name a class of torch.distributed.checkpoint, states of layers are bytes in a stream."""
    import io

    import torch
    from mindspeed.features.compatibility._pickles import load_data, load_metadata
    from torch.distributed.checkpoint.filesystem import _StoragePrefix

    assert load_metadata(io.BytesIO(pickle.dumps(_StoragePrefix("__0_"))), "plan") == _StoragePrefix("__0_")
    file = io.BytesIO()
    torch.save({"extra_state": io.BytesIO(b"bytes of a layer")}, file)
    file.seek(0)
    assert load_data(file, "state")["extra_state"].getvalue() == b"bytes of a layer"


def test_what_the_program_has_declared_stays_declared(tmp_path: Path) -> None:
    """As Megatron declares arguments and more when it is imported."""
    import torch
    from mindspeed.features.compatibility._pickles import load_data

    file = tmp_path / "state.pt"
    torch.save(argparse.Namespace(lr=0.5), file)
    with torch.serialization.safe_globals([argparse.Namespace]):
        before = set(torch.serialization.get_safe_globals())
        assert load_data(str(file), "state") == argparse.Namespace(lr=0.5)
        assert set(torch.serialization.get_safe_globals()) == before
        assert torch.load(file) == argparse.Namespace(lr=0.5)
    undeclared = set(torch.serialization.get_safe_globals())
    assert load_data(str(file), "state") == argparse.Namespace(lr=0.5)
    assert set(torch.serialization.get_safe_globals()) == undeclared


def test_paths_stay_in_the_folder(cases: list[dict[str, Any]]) -> None:
    for case in of(cases, "leads_out"):
        assert "leads out of the folder" in case["said"], case


def test_a_full_disk_leaves_the_earlier_ones(cases: list[dict[str, Any]]) -> None:
    for case in of(cases, "full_disk"):
        assert "cannot be written" in case["said"] and "MiB are free" in case["said"], case
        assert case["left"] == ["iter_0000001", "iter_0000002", "latest"], case


def test_what_a_run_keeps(cases: list[dict[str, Any]]) -> None:
    """There were 1 and 2. The last two of the run and the resumed one stay; newer ones until their number is saved."""
    wanted = {(2, (3,)): [2, 3], (2, (3, 4, 5)): [2, 4, 5], (1, (5,)): [1, 2, 5], (1, (2, 3, 4)): [1, 3, 4]}
    wanted[0, (1, 2, 3)] = [2, 3]
    found = {(case["resumed"], tuple(case["saved"])): case for case in of(cases, "pruned")}
    assert {key: case["left"] for key, case in found.items()} == wanted
    assert all(case["said"] == "loaded" for case in found.values())


def test_cached_indices_hold_numbers(cases: list[dict[str, Any]]) -> None:
    (case,) = of(cases, "index")
    assert "is no array of numbers" in case["said"] and not case["executed"]
