# SPDX-License-Identifier: Apache-2.0
"""Logging in a job of many ranks."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence

import torch

__all__ = ["log_warning_once", "print_rank", "set_log_level"]

_told: set[str] = set()


def set_log_level(level: str = "INFO") -> None:
    """Write the messages of all loggers from this level on to stdout, with the rank in front."""
    rank, local = os.environ.get("RANK", "0"), os.environ.get("LOCAL_RANK", "0")
    logging.basicConfig(
        level=level,
        stream=sys.stdout,
        force=True,
        format=f"[Rank {rank} | Local Rank {local}] %(asctime)s %(levelname)s [%(name)s:%(lineno)d] => %(message)s",
    )


def print_rank(log: Callable[[str], object], message: str, ranks: int | Sequence[int] = 0) -> None:
    """Call `log` on these ranks only; a program that is no job counts as all of them."""
    wanted = {ranks} if isinstance(ranks, int) else set(ranks)
    if torch.distributed.is_initialized():
        rank = torch.distributed.get_rank()
    elif "RANK" in os.environ:
        rank = int(os.environ["RANK"])
    else:
        log(message)
        return
    if rank in wanted:
        log(message)


def log_warning_once(logger: logging.Logger, message: str) -> None:
    """The same text only once in a process."""
    if message not in _told:
        _told.add(message)
        logger.warning(message)
