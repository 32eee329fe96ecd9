# SPDX-License-Identifier: Apache-2.0
"""Run parity_job.py in a process of its own, with the Megatron installed or with another one."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import forked

JOB = Path(__file__).with_name("parity_job.py")
RELATIVE_TOLERANCE = 1e-4


@functools.cache
def run(
    side: str,
    *options: str,
    threads: int = 2,
    attempt: int = 0,
    megatron: str = "",
    python: str = sys.executable,
) -> dict[str, Any]:
    """One training run; cached per argument list, `attempt` asks for another one. `megatron` is a folder with it."""
    arguments, threads_of_it = [str(JOB), side, *options], {"MINDSPEED_NUM_THREADS": str(threads)}
    if python == sys.executable and not megatron:
        done = forked.run(arguments, timeout=600, **threads_of_it)
    else:
        environment = os.environ | threads_of_it
        path = [megatron, os.environ.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, path))
        done = subprocess.run(
            [python, *arguments], env=environment, capture_output=True, text=True, timeout=600, check=False
        )
    if done.returncode != 0:
        raise RuntimeError(
            f"{python} {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr[-4000:]}"
        )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def losses(result: dict[str, Any]) -> list[float]:
    return [float.fromhex(text) for text in result["losses"]]


def difference(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    """The greatest relative one of all losses."""
    return max(abs(a - b) / abs(b) for a, b in zip(losses(ours), losses(theirs), strict=True))
