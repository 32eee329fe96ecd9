# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C in programs that know nothing of it: KeyboardInterrupt within a second, whatever the device does.

The waits themselves are tested in tests/runtime/test_interrupt.c, without an interpreter.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import forked
import pytest
import torchrun

# The bound is for busy machines; what is queued takes far longer on any.
WITHIN_S = 10.0
TIMEOUT_S = 300
START = "import sys, time, torch\n"
# Every part says `ready` before it waits, and when it was told.
QUEUE = """
x = torch.randn(2048, 2048, device="npu")
print("ready", flush=True)
try:
    for _ in range(2000): y = x @ x
    torch.npu.synchronize()
except KeyboardInterrupt:
    print("told", time.monotonic(), flush=True)
    print((torch.ones(4, device="npu") + 1).sum().item(), flush=True)
"""
UNCAUGHT = """
x = torch.randn(2048, 2048, device="npu")
print("ready", flush=True)
for _ in range(2000): y = x @ x
print(y.sum().item())
"""
ONE_LARGE = """
x = torch.ones(12288, 12288, device="npu")
torch.npu.synchronize()
print("ready", flush=True)
try:
    y = x @ x
    torch.npu.synchronize()
except KeyboardInterrupt:
    print("told", time.monotonic(), flush=True)
"""
OWN_HANDLER = """
import signal
stop = []
signal.signal(signal.SIGINT, lambda *_: stop.append(1))
x = torch.ones(1024, 1024, device="npu")
print("ready", flush=True)
rounds = 0
while not stop:
    y = torch.zeros(1024, 1024, device="npu")
    for _ in range(20): y += x
    assert y.sum().item() == 20 * 1024 * 1024
    rounds += 1
print("whole", rounds, flush=True)
"""
DEADLOCK = """
import ctypes
libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
libc.pthread_mutex_lock(mutex)
print("ready", flush=True)
libc.pthread_mutex_lock(mutex)
"""
PEER = """
import os
import torch.distributed as dist
rank = int(os.environ["RANK"])
torch.npu.set_device(rank)
dist.init_process_group("hccl")
x = torch.ones(4, device="npu")
if "group" not in sys.argv:
    dist.all_reduce(x)
    torch.npu.synchronize()
print("ready\\n", end="", flush=True)  # in one write: ranks of torchrun are not buffered and share the pipe
if rank == 1: time.sleep(300)
try:
    dist.all_reduce(x)
    print(x.sum().item())
except KeyboardInterrupt:
    print("told", time.monotonic(), flush=True)
    raise
"""


MEETING = """
import os
import torch.distributed as dist
print("ready", flush=True)
dist.init_process_group("hccl")
"""


Started = forked.Process | subprocess.Popen[str]


def start_interpreter(code: str, **variables: str) -> subprocess.Popen[str]:
    """One that imports torch by itself."""
    line = [sys.executable, "-c", START + code]
    pipe, environment = subprocess.PIPE, os.environ | variables
    return subprocess.Popen(line, stdout=pipe, stderr=pipe, text=True, env=environment)


def start(code: str, folder: Path, *arguments: str, **variables: str) -> forked.Process:
    script = folder / "job.py"
    script.write_text(START + code)
    return forked.start([str(script), *arguments], **variables)


def await_ready(process: Started) -> None:
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == "ready\n", process.stderr.read()


@contextmanager
def ended(process: Started) -> Iterator[None]:
    try:
        yield
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def interrupt(process: Started, after: float = 0.5) -> tuple[float, str, str]:
    """Seconds until the program was told or ended, and what it wrote."""
    await_ready(process)
    time.sleep(after)
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=TIMEOUT_S)
    told = [float(line.split()[1]) for line in out.splitlines() if line.startswith("told")]
    return (told[0] if told else time.monotonic()) - sent, out, errors


@pytest.mark.parametrize("queue", ["0", "1"])
def test_a_full_queue(queue: str, tmp_path: Path) -> None:
    """With 1 operators wait in torch_npu's queue, and the main thread in torch_npu. The device works afterwards."""
    process = start(QUEUE, tmp_path, TASK_QUEUE_ENABLE=queue)
    with ended(process):
        seconds, out, errors = interrupt(process)
        assert seconds < WITHIN_S and out.endswith("8.0\n") and process.returncode == 0, (
            seconds,
            out,
            errors,
        )


def test_nobody_catches_it() -> None:
    process = start_interpreter(UNCAUGHT, TASK_QUEUE_ENABLE="1")
    with ended(process):
        _, _, errors = interrupt(process)
        assert process.returncode == -signal.SIGINT and errors.endswith("KeyboardInterrupt\n"), errors


def test_one_large_operator(tmp_path: Path) -> None:
    process = start(ONE_LARGE, tmp_path)
    with ended(process):
        seconds, out, errors = interrupt(process)
        assert seconds < WITHIN_S and "told" in out and process.returncode == 0, (seconds, out, errors)


def test_a_handler_of_the_program_loses_nothing(tmp_path: Path) -> None:
    process = start(OWN_HANDLER, tmp_path, TASK_QUEUE_ENABLE="1")
    with ended(process):
        _, out, errors = interrupt(process, after=1)
        assert "whole" in out and process.returncode == 0, errors


def test_the_second_one_ends_any_call() -> None:
    """Of a library that takes no notice of signals; the first one says so."""
    process = start_interpreter(DEADLOCK)
    with ended(process):
        await_ready(process)
        assert process.stderr is not None
        time.sleep(0.5)  # it is ready before it is in the call
        process.send_signal(signal.SIGINT)
        while "Ctrl-C again ends it at once" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT_S) == -signal.SIGINT


@pytest.mark.parametrize("what", ["collective", "group"])
def test_a_peer_that_never_comes(what: str, tmp_path: Path) -> None:
    """Neither to an all_reduce, nor to the making of the group."""
    script = tmp_path / "job.py"
    script.write_text(START + PEER)
    job = torchrun.start(2, script, [what])
    first, second = job.ranks
    with ended(second), ended(first):
        await_ready(second)
        seconds, out, errors = interrupt(first, after=1)
        assert seconds < WITHIN_S and "told" in out, (seconds, errors)
        assert "terminate called" not in errors and first.returncode == -signal.SIGINT, errors


@pytest.mark.parametrize("rank", ["0", "1"])
def test_ranks_that_are_never_started(rank: str, tmp_path: Path) -> None:
    """A plain script with its own store: rank 0 has it and waits for the others, rank 1 calls a rank 0 that is not there."""
    with socket.socket() as taken:  # but not listened at, so nobody else answers there
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        if rank == "0":
            taken.close()
        process = start(
            MEETING, tmp_path, RANK=rank, WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
        )
        with ended(process):
            seconds, _, errors = interrupt(process, after=2)
            assert seconds < WITHIN_S and process.returncode == -signal.SIGINT, (seconds, errors)
            assert "interrupted while ranks meet at torch's store" in errors, errors
            assert "goes on" not in errors, (
                errors
            )  # told by the first look, also between two attempts to connect


def test_a_job_of_torchrun(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(START + PEER)
    process = subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with ended(process):
        await_ready(process)
        await_ready(process)
        time.sleep(1)
        sent = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        process.communicate(timeout=TIMEOUT_S)
        assert time.monotonic() - sent < 3 * WITHIN_S and process.returncode != 0
