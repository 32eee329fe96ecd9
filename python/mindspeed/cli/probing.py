# SPDX-License-Identifier: Apache-2.0
"""Questions to CANN, asked in a process of their own (probe.py), so that a crash or a hang is an answer too."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any


def probe(name: str, timeout: float) -> dict[str, Any]:
    """Run mindspeed.cli.probe in a process of its own."""
    command = [sys.executable, "-m", "mindspeed.cli.probe", name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {timeout:g} s"}
    if done.returncode < 0:
        return {"error": f"the process was ended by signal {-done.returncode}"}
    last = (done.stdout.strip().splitlines() or [""])[-1]
    try:
        answer = json.loads(last)
    except ValueError:
        answer = None
    if isinstance(answer, dict):
        return answer
    error = (done.stderr.strip().splitlines() or [f"exit code {done.returncode} and no output"])[-1]
    return {"error": error}
