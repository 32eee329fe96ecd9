# SPDX-License-Identifier: Apache-2.0
"""The ranks of the job: who they are, what only the first one does, what all of them agree on."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import torch
from errors import SharedError, UserError

T = TypeVar("T")


def is_worker() -> bool:
    """Whether torchrun started this process."""
    return "RANK" in os.environ and "LOCAL_RANK" in os.environ


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
