# SPDX-License-Identifier: Apache-2.0
"""Start a program on several ranks of this machine with torchrun, and end all of them when the time is over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# A rank that waits longer for another one gives up and says for whom: sooner than the test.
EXEC_TIMEOUT_S = 300


def command(world: int, script: Path, arguments: Sequence[str]) -> list[str]:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    return [sys.executable, *launcher, "--nproc_per_node", str(world), str(script), *arguments]


def errors(done: subprocess.CompletedProcess[str], most: int = 6000) -> str:
    """What was written from the first exception on, without the middle: the first is the cause of the others."""
    text = done.stderr[max(done.stderr.find("Traceback"), 0) :]
    return text if len(text) <= most else f"{text[: most // 2]}\n...\n{text[-most // 2 :]}"


def run(
    world: int,
    script: Path,
    arguments: Sequence[str] = (),
    *,
    timeout: float,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs to the end; a time-out is return code -1, with what was written until then."""
    variables = os.environ | {
        "OMP_NUM_THREADS": "1",
        "CUDA_DEVICE_MAX_CONNECTIONS": "1",
        "HCCL_EXEC_TIMEOUT": str(EXEC_TIMEOUT_S),
        **(environment or {}),
    }
    line = command(world, script, arguments)
    with subprocess.Popen(
        line,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate(timeout=timeout)
            return subprocess.CompletedProcess(line, process.returncode, output, errors)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGTERM)  # torchrun ends its workers
            output, errors = process.communicate(timeout=60)
            return subprocess.CompletedProcess(
                line, -1, output, f"{errors}\nnot finished after {timeout:.0f} s"
            )
