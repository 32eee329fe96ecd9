# SPDX-License-Identifier: Apache-2.0
"""Copies between devices equal the CPU's, bit by bit: views, types, destinations, order, nn.DataParallel; and errors of
operators by name reach the line that asked for one. The programs are tests/support/device_copies.py."""

from __future__ import annotations

from pathlib import Path

import forked
import pytest

JOB = Path(__file__).parents[1] / "support" / "device_copies.py"


def run(*part: str, queue: int) -> list[str]:
    """What the part prints, in a process of its own with that TASK_QUEUE_ENABLE."""
    done = forked.run([str(JOB), *part], timeout=600, TASK_QUEUE_ENABLE=str(queue), MINDSPEED_NUM_THREADS="2")
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    return done.stdout.splitlines()


def test_nothing_differs_from_the_cpu() -> None:
    """All parts in one process."""
    assert run("all", queue=0) == ["done"]


@pytest.mark.slow
def test_nothing_differs_between_any_two_devices() -> None:
    """Each combination between all pairs of devices."""
    assert run("all", "full", queue=0) == ["done"]


def test_nothing_differs_behind_torch_npus_queue() -> None:
    """The parts that do not need the order that the queue cannot keep (docs/streams.md)."""
    assert run("queued", queue=1) == ["done"]


@pytest.mark.parametrize("queue", [0, 1, 2])
def test_a_missing_operator_is_named(queue: int) -> None:
    assert run("missing", queue=queue) == ["done"]


@pytest.mark.xfail(
    strict=True, reason="torch_npu 2.13.0 assigns a new tensor to its own reference of the destination"
)
def test_a_wide_last_stride_reaches_the_other_device() -> None:
    assert run("wide", queue=0) == ["done"]
