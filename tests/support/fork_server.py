# SPDX-License-Identifier: Apache-2.0
"""A process that has imported torch and torch_npu, and forks one that goes on from there for each request of forked.py.

An import takes seconds, a fork milliseconds. Nothing of the runtime is started here: devices, options and exits are
those of each forked process. What is decided at the import (MINDSPEED_DEVICE) is decided; tests of that start an
interpreter of their own.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import selectors
import signal
import socket
import sys
from typing import Any


def _take_place(request: dict[str, Any], files: list[int]) -> None:
    """Of a fresh interpreter that was started with the request's arguments and environment."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, file in enumerate([nothing, *files]):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = request["arguments"]
    sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
    _take_settings()


def _take_settings() -> None:
    """What was read or done at the imports because of the environment, or not because of this process's signals."""
    import torch
    from mindspeed.cann import interrupts, loader

    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdigit():
        torch.set_num_threads(int(threads))
    os.environ.update(loader.environment_for("host", os.environ, search_path=False))
    if loader.FIRST[0] in loader.loaded:
        interrupts.watch(loader.loaded[loader.FIRST[0]])


def _ended() -> list[tuple[int, int]]:
    found = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        found.append((pid, os.waitstatus_to_exitcode(status)))


def _serve(channel: socket.socket) -> str:
    """Until there is a program to run here: in a forked process. In the server itself it ends with the client."""
    wake, woken = socket.socketpair()
    for end in (wake, woken):
        end.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    selector = selectors.DefaultSelector()
    selector.register(channel, selectors.EVENT_READ)
    selector.register(woken, selectors.EVENT_READ)
    while True:
        ready = [key.fileobj for key, _ in selector.select()]
        if woken in ready:
            woken.recv(4096)
            for pid, code in _ended():
                channel.send(json.dumps([pid, code]).encode())
        if channel not in ready:
            continue
        message, files, _, _ = socket.recv_fds(channel, 1 << 20, 2)
        if not message:
            os._exit(0)
        pid = os.fork()
        if pid == 0:
            selector.close()
            for end in (wake, woken, channel):
                end.close()
            request = json.loads(message)
            _take_place(request, files)
            return str(request["arguments"][0])
        for file in files:
            os.close(file)
        channel.send(json.dumps([pid, None]).encode())


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the tests, which end this process
    import named_libraries  # noqa: F401  (in front of torch)

    # isort: split
    import torch  # noqa: F401

    gc.freeze()
    runpy.run_path(_serve(socket.socket(fileno=int(sys.argv[1]))), run_name="__main__")
