# SPDX-License-Identifier: Apache-2.0
"""Python programs in processes of their own that need not import torch: forked by fork_server.py."""

from __future__ import annotations

import functools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any


class _Server:
    """One for all tests of this process. It ends when this process does, by the socket."""

    def __init__(self) -> None:
        self._channel, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        program = [sys.executable, str(Path(__file__).with_name("fork_server.py"))]
        environment = {k: v for k, v in os.environ.items() if k != "TORCH_DEVICE_BACKEND_AUTOLOAD"}
        self._process = subprocess.Popen(
            [*program, str(other.fileno())],
            pass_fds=[other.fileno()],
            stdin=subprocess.DEVNULL,
            env=environment,
        )
        other.close()
        self._codes: dict[int, int] = {}

    def _receive(self, timeout: float | None) -> tuple[int, int | None] | None:
        self._channel.settimeout(timeout)
        try:
            message = self._channel.recv(4096)
        except TimeoutError:
            return None
        assert message, f"the fork server ended with {self._process.wait()}"
        pid, code = json.loads(message)
        if code is not None:
            self._codes[pid] = code
        return pid, code

    def fork(self, request: dict[str, Any], files: Sequence[int]) -> int:
        socket.send_fds(self._channel, [json.dumps(request).encode()], files)
        while (found := self._receive(None)) is None or found[1] is not None:
            pass
        return found[0]

    def code(self, pid: int, timeout: float | None) -> int | None:
        """The exit code of a process; None: it still runs after `timeout` seconds, of which None is for ever."""
        end = None if timeout is None else time.monotonic() + timeout
        while pid not in self._codes:
            left = None if end is None else max(end - time.monotonic(), 1e-3)
            if self._receive(left) is None and end is not None and time.monotonic() >= end:
                break
        return self._codes.get(pid)


@functools.cache
def _server() -> _Server:
    return _Server()


class Process:
    """What subprocess.Popen([sys.executable, *arguments], stdout=PIPE, stderr=PIPE, text=True) is to its users."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self.arguments = list(arguments)
        self.returncode: int | None = None
        pipes = [os.pipe() for _ in range(2)]
        request = {"arguments": self.arguments, "environment": dict(environment)}
        self.pid = _server().fork(request, [write for _, write in pipes])
        for _, write in pipes:
            os.close(write)
        self.stdout, self.stderr = (
            open(read, encoding="utf-8", errors="replace")  # noqa: SIM115  (closed by who has read it)
            for read, _ in pipes
        )
        self._texts = ["", ""]
        self._readers: list[threading.Thread] = []

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = _server().code(self.pid, 0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self.returncode = _server().code(self.pid, timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.arguments, timeout or 0)
        return self.returncode

    def collect(self) -> None:
        """Read what it writes from here on, beside this thread."""
        for number, file in enumerate((self.stdout, self.stderr)):
            if not file.closed:
                self._readers.append(threading.Thread(target=self._read, args=(number, file)))
                self._readers[-1].start()

    def _read(self, number: int, file: IO[str]) -> None:
        with file:
            self._texts[number] = file.read()

    def texts(self) -> tuple[str, str]:
        """All that was read. Returns when the process, and who has its files from it, have ended."""
        for reader in self._readers:
            reader.join()
        return self._texts[0], self._texts[1]

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """When the time is over, it is killed."""
        self.collect()
        try:
            self.wait(timeout)
        finally:
            self.kill()
        return self.texts()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start(arguments: Sequence[str], **variables: str) -> Process:
    """A script and its arguments, with variables on top of this process's."""
    environment = os.environ | variables
    environment.pop("TORCH_DEVICE_BACKEND_AUTOLOAD", None)
    return Process(arguments, environment)


def run(arguments: Sequence[str], timeout: float = 300, **variables: str) -> subprocess.CompletedProcess[str]:
    process = start(arguments, **variables)
    out, errors = process.communicate(timeout)
    return subprocess.CompletedProcess(process.arguments, process.wait(), out, errors)
