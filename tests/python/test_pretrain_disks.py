# SPDX-License-Identifier: Apache-2.0
"""The pretraining program on a folder that cannot be written: one sentence with the path and the cause, the checkpoints
that were there are whole and go on, and nothing half is left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import forked
import places
import pytest

JOB = Path(__file__).parents[1] / "support" / "pretrain_disks.py"
FULL, READ_ONLY, DENIED = "No space left on device", "Read-only file system", "Permission denied"
NEW = "checkpoints/iter_0000003"


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    reason = places.why_not()
    if reason:
        pytest.skip(reason)
    done = forked.run([str(JOB), str(tmp_path_factory.mktemp("disks"))], timeout=900)
    assert done.returncode == 0, done.stderr[-4000:]
    rows = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    return {row["way"]: row for row in rows}


def sentence(way: dict[str, Any]) -> str:
    """The one that it ends with."""
    lines = [line for line in way["errors"].splitlines() if line.startswith("pretrain: error: ")]
    assert way["code"] == 2 and len(lines) == 1 and "Traceback" not in way["errors"], way
    return str(lines[0])


def test_the_folder_from_the_start(ways: dict[str, dict[str, Any]]) -> None:
    assert f"/out cannot be written: {READ_ONLY}; name another --out" in sentence(ways["read-only"])
    assert f"/out cannot be written: {DENIED}; name another --out" in sentence(ways["of another user"])
    assert f"/out/data cannot be written: {FULL}" in sentence(ways["too small for the data"])


def test_a_save(ways: dict[str, dict[str, Any]]) -> None:
    names = [name for name in ways if "when it saves" in name]
    assert len(names) == 3
    for name in names:
        said, cause = sentence(ways[name]), READ_ONLY if name.startswith("read-only") else FULL
        assert "the checkpoint " in said and f"/{NEW} cannot be written: " in said and cause in said, said
        assert "earlier ones are untouched" in said and ways[name]["more"] == [], ways[name]


def test_the_curve(ways: dict[str, dict[str, Any]]) -> None:
    way = ways["full when the curve is drawn"]
    assert f"/out/loss.png cannot be written: {FULL}" in sentence(way)
    assert any(file.startswith(f"{NEW}/") for file in way["more"]), way


def test_what_was_there_is_whole_and_goes_on(ways: dict[str, dict[str, Any]]) -> None:
    losses = set()
    for name, way in ways.items():
        assert not way["temporary"] and way["again"] == 0, way
        if not name.startswith(
            "too small for the data"
        ):  # its rates are those of a run of three from the start
            losses.add(way["loss"])
        if name == "too small for the data":
            assert not way["resumed"], way
        elif name != "full when the curve is drawn":
            assert not way["lost"] and way["resumed"], way
    assert len(losses) == 1 and None not in losses, losses
