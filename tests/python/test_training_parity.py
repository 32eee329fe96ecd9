# SPDX-License-Identifier: Apache-2.0
"""Twenty steps of megatron-core's GPT on a virtual NPU against a GPT written here in plain PyTorch on the CPU."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

JOB = Path(__file__).parents[1] / "support" / "parity_job.py"
RELATIVE_TOLERANCE = 1e-4


@functools.cache
def run(side: str, threads: int, attempt: int = 0) -> dict[str, Any]:
    """One training run in a process of its own; cached per argument list, `attempt` asks for another one."""
    environment = os.environ | {"MINDSPEED_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [sys.executable, str(JOB), side], env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-4000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def losses(result: dict[str, Any]) -> list[float]:
    return [float.fromhex(text) for text in result["losses"]]


def test_losses_equal_the_independent_ones() -> None:
    ours, theirs = losses(run("megatron", 2)), losses(run("plain", 2))
    worst = max(abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True))
    assert worst <= RELATIVE_TOLERANCE, f"relative difference {worst:.2e}\n{ours}\n{theirs}"


def test_the_model_learns() -> None:
    ours = losses(run("megatron", 2))
    assert ours[-1] < ours[0] - 0.5, ours


def test_two_runs_are_bit_identical() -> None:
    assert run("megatron", 2) == run("megatron", 2, attempt=1)


def test_thread_counts_are_bit_identical() -> None:
    assert run("megatron", 1) == run("megatron", 2)
