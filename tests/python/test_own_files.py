# SPDX-License-Identifier: Apache-2.0
"""Traces, dumps and plans on a read-only or a full file system: said with path and cause, nothing half left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import places
import pytest

JOB = Path(__file__).parents[1] / "support" / "own_files_job.py"
READ_ONLY, FULL = "Read-only file system", "No space left on device"
CAUSES = {"read-only": READ_ONLY, "small": FULL}
HOWS = pytest.mark.parametrize("how", CAUSES)


@pytest.fixture(scope="module", autouse=True)
def can_mount() -> None:
    reason = places.why_not()
    if reason:
        pytest.skip(reason)


def run(what: str, how: str, folder: Path, **variables: str) -> tuple[dict[str, Any], str]:
    done = subprocess.run(
        [sys.executable, str(JOB), what, how, str(folder)],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_a_trace_in_a_read_only_folder(tmp_path: Path) -> None:
    found, _ = run("trace", "read-only", tmp_path, MINDSPEED_TRACE=str(tmp_path / "t.json"))
    assert f"cannot write the trace {tmp_path}/t.json: {READ_ONLY}" in found["said"] and not found["left"]


def test_a_trace_that_fills_the_disk(tmp_path: Path) -> None:
    """It ends there, and says so; the training goes on, and what is written can be read."""
    found, errors = run("trace", "small", tmp_path, MINDSPEED_TRACE=str(tmp_path / "t.json"))
    assert found["said"] == "all tasks ran"
    assert f"the trace {tmp_path}/t.json of process " in errors and f"ends here: {FULL}" in errors
    assert len(json.loads(found["left"]["t.json"])) > 1


@HOWS
def test_a_dump(how: str, tmp_path: Path) -> None:
    found, _ = run("dump", how, tmp_path)
    assert (
        CAUSES[how] in found["said"] and str(tmp_path / "step000001") in found["said"] and not found["left"]
    ), found


def test_a_folder_for_dumps_that_cannot_be_written(tmp_path: Path) -> None:
    found, _ = run("dump folder", "read-only", tmp_path)
    assert found["said"] == f"{tmp_path} cannot be written; choose another --npu-datadump-dir"
    assert run("dump folder", "small", tmp_path)[0]["said"] == ""


@HOWS
def test_a_plan(how: str, tmp_path: Path) -> None:
    (tmp_path / "plan.html").write_text("old")
    found, _ = run("plan", how, tmp_path)
    assert found["said"] == f"plan: cannot write {tmp_path}/plan.html: {CAUSES[how]}"
    assert found["left"] == {"plan.html": "old"}


@HOWS
def test_merged_traces(how: str, tmp_path: Path) -> None:
    head = '{"ph":"M","name":"mindspeed_trace","pid":0,"tid":0,"args":{"format":1,"process":%d,"rank":null,"host":"h","clock":"c","wall_ns":0}}'
    slice_ = ',{"ph":"X","name":"n","pid":0,"tid":0,"ts":1,"dur":1}'
    for number, name in enumerate(("one", "two")):
        (tmp_path / f"{name}.json").write_text("\n".join(["[", head % number, *[slice_] * 1000, "]"]))
    found, _ = run("merge", how, tmp_path)
    assert f"cannot write {tmp_path}/all.json: {CAUSES[how]}" in found["said"], found["said"]
    assert sorted(found["left"]) == ["one.json", "two.json"]
