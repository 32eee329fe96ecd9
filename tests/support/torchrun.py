# SPDX-License-Identifier: Apache-2.0
"""Start a program on several ranks of this machine as torchrun does, and end all of them when one fails or the time is
over. The ranks are forked (forked.py), and meet at a store in this process, so that no port is guessed. With the launcher
itself: test_a_job_of_torchrun (test_interrupt.py) and the pretraining job."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import forked

# A rank that waits longer for another one gives up and says for whom: sooner than the test.
EXEC_TIMEOUT_S = 300
# What torchrun gives the others between one's failure and their end.
GRACE_S = 30


def errors(done: subprocess.CompletedProcess[str], most: int = 6000) -> str:
    """What was written from the first exception on, without the middle: the first is the cause of the others."""
    text = done.stderr[max(done.stderr.find("Traceback"), 0) :]
    return text if len(text) <= most else f"{text[: most // 2]}\n...\n{text[-most // 2 :]}"


def rows(world: int, script: Path, arguments: Sequence[str] = (), *, timeout: float) -> list[dict[str, Any]]:
    """The lines of JSON that a job has printed; one that fails is an assertion with its errors."""
    done = run(world, script, arguments, timeout=timeout)
    assert done.returncode == 0, errors(done)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@dataclass(frozen=True, slots=True)
class Job:
    ranks: list[forked.Process]
    store: Any  # lives as long as the job

    def has_failed(self) -> bool:
        return any(rank.poll() not in (None, 0) for rank in self.ranks)

    def is_over(self) -> bool:
        return all(rank.poll() is not None for rank in self.ranks)

    def end(self) -> None:
        for rank in self.ranks:
            rank.kill()


def start(world: int, script: Path, arguments: Sequence[str] = (), **variables: str) -> Job:
    from torch.distributed import TCPStore

    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    common = {
        "OMP_NUM_THREADS": "1",
        "CUDA_DEVICE_MAX_CONNECTIONS": "1",
        "HCCL_EXEC_TIMEOUT": str(EXEC_TIMEOUT_S),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world),
    }
    line = [str(script), *arguments]
    return Job(
        [
            forked.start(line, **(common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} | variables))
            for rank in range(world)
        ],
        store,
    )


def run(
    world: int,
    script: Path,
    arguments: Sequence[str] = (),
    *,
    timeout: float,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs to the end; a time-out is return code -1, with what was written until then."""
    job = start(world, script, arguments, **(environment or {}))
    for rank in job.ranks:
        rank.collect()
    end = time.monotonic() + timeout
    late = ""
    while not job.is_over():
        if job.has_failed():
            end = min(end, time.monotonic() + GRACE_S)
        if time.monotonic() > end:
            late = "" if job.has_failed() else f"\nnot finished after {timeout:.0f} s"
            job.end()
        time.sleep(0.01)
    codes = [code for rank in job.ranks if (code := rank.wait()) != 0]
    out, wrong = ("".join(column) for column in zip(*(rank.texts() for rank in job.ranks), strict=True))
    return subprocess.CompletedProcess([str(script)], -1 if late else (codes or [0])[0], out, wrong + late)
