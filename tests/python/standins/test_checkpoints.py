# SPDX-License-Identifier: Apache-2.0
"""A checkpoint goes from Megatron's own layers to those of the stand-in and back; both compute the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

JOB = Path(__file__).parents[2] / "support" / "standins_job.py"


@pytest.mark.slow
def test_a_checkpoint_fits_both_implementations(tmp_path):
    for number in range(2):
        (tmp_path / f"checkpoint{number}").mkdir()
    done = subprocess.run(
        [sys.executable, str(JOB), str(tmp_path / "checkpoint")],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    results = json.loads(done.stdout.splitlines()[-1])
    assert [result["target"] for result in results] == [
        "TELayerNormColumnParallelLinear",
        "ColumnParallelLinear",
    ]
    for result in results:
        assert result["loss"] < 1e-5 and result["grad"] < 1e-5, result
