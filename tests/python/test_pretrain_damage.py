# SPDX-License-Identifier: Apache-2.0
"""The pretraining program on folders that are damaged: it says in one sentence which file is, or goes on from what is
whole, to the same losses. The loaders alone, and what an attacker may write: test_checkpoint_safety.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import forked
import pytest

JOB = Path(__file__).parents[1] / "support" / "pretrain_damage.py"
NEWEST = "checkpoints/iter_0000002"
# One of each kind, and of each sort of file.
FEW = (
    f"truncated:{NEWEST}/__0_0.distcp", "emptied:checkpoints/latest", f"flipped:{NEWEST}/contents.json", f"swapped:{NEWEST}/common.pt",
    f"linked:{NEWEST}/.metadata", "huge:data/train.bin", "removed:checkpoints/latest", "flipped:index/*", "huge:history.jsonl",
)  # fmt: skip
CASE_S = 120


def resume(folder: Path, seed: int, pairs: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    done = forked.run([str(JOB), str(folder), str(seed), *pairs], timeout=CASE_S * (len(pairs) or 200))
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def trouble(case: dict[str, Any], whole: dict[int, dict[str, float]]) -> str | None:
    """What is wrong with how the program took a damaged file."""
    if case["lost"] or case["left"]:
        return "another checkpoint is not what it was, or something half is left"
    if case["code"] == 0:
        return None if case["losses"] == whole.get(case["resumed"]) else "it has gone on from something else"
    lines = [line for line in case["errors"].splitlines() if line.startswith("pretrain: error: ")]
    if case["code"] not in (1, 2) or len(lines) != 1 or "Traceback" in case["errors"]:
        return "it does not end with one sentence"
    file = Path(case["file"])
    named = file.name in lines[0] or (case["kind"] == "swapped" and str(file.parent) in lines[0])
    return None if named else "it does not say which file"


def check(cases: list[dict[str, Any]]) -> None:
    newest, older, *damaged = cases
    whole = {case["resumed"]: case["losses"] for case in (newest, older)}
    assert whole.keys() == {1, 2} and [len(whole[resumed]) for resumed in (2, 1)] == [1, 2], whole
    wrong = [(text, case) for case in damaged if (text := trouble(case, whole))]
    assert not wrong, json.dumps(wrong, indent=1)


@pytest.mark.slow
def test_some_files_damaged_in_some_ways(tmp_path: Path) -> None:
    cases = resume(tmp_path, 1, FEW)
    check(cases)
    ends = {f"{case['kind']}:{case['file']}": case["code"] for case in cases[2:]}
    assert ends["removed:checkpoints/latest"] == 0 and ends["huge:history.jsonl"] == 2, ends
    assert sum(code == 0 for code in ends.values()) == 2, ends  # no `latest`; an index that is made anew


@pytest.mark.slow
def test_every_file_damaged_in_every_way(tmp_path: Path) -> None:
    cases = resume(tmp_path, 2)
    assert len(cases) > 100
    check(cases)
