# SPDX-License-Identifier: Apache-2.0
"""The ranks of the job: who they are, what only the first one does, what all of them agree on."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable
from typing import TypeVar

import torch
from errors import SharedError, UserError

T = TypeVar("T")
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def is_worker() -> bool:
    """Whether torchrun started this process."""
    return "RANK" in os.environ and "LOCAL_RANK" in os.environ


def _end_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def leave_nothing_behind() -> None:
    """What this process forks ends with it, and a rank with its launcher, however they end.

    Megatron's checkpoint writer forks a process that ignores Ctrl-C.
    """
    os.register_at_fork(after_in_child=_end_with_parent)
    if is_worker():
        _end_with_parent()


def is_first() -> bool:
    return int(os.environ.get("RANK", "0")) == 0


def say(text: str) -> None:
    """From the first rank, at once: launchers read what ranks write through pipes."""
    if is_first():
        print(text, flush=True)


def on_first(function: Callable[[], T]) -> T:
    """Call it on the first rank; all get its value, or its UserError."""
    if torch.distributed.get_world_size() == 1:
        return function()
    outcome: list[tuple[T | None, str | None]] = [(None, None)]
    if is_first():
        try:
            outcome = [(function(), None)]
        except UserError as error:
            outcome = [(None, str(error))]
    torch.distributed.broadcast_object_list(outcome, src=0)
    value, message = outcome[0]
    if message is not None:
        raise SharedError(message)
    return value  # type: ignore[return-value]


def barrier() -> None:
    if torch.distributed.get_world_size() > 1:
        torch.distributed.barrier()
