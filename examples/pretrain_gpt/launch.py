# SPDX-License-Identifier: Apache-2.0
"""Start one rank per NPU with torchrun, in this process, and wait for them. Ctrl-C ends all."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from errors import UserError

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def check_devices(npus: int) -> None:
    """Before anything starts: a rank without a device would end the others, one by one."""
    import torch

    found = torch.npu.device_count()
    if npus > found:
        shown = os.environ.get("ASCEND_RT_VISIBLE_DEVICES")
        raise UserError(
            f"--npus is {npus}, wanted at most {found}, the number of devices; "
            + (
                f"MINDSPEED_NUM_DEVICES={npus} gives more virtual ones"
                if shown is None
                else f"ASCEND_RT_VISIBLE_DEVICES={shown} shows no more"
            )
        )


def _first(failures: Mapping[int, ProcessFailure]) -> tuple[int, ProcessFailure]:
    """The failure that the others follow from: they hear of it within milliseconds.

    A rank that was killed could not write anything down; one that the launcher ended (SIGTERM) or whose watchdog did
    (SIGABRT) followed. The others wrote down when they failed.
    """

    def place(item: tuple[int, ProcessFailure]) -> tuple[int, int]:
        failure = item[1]
        details = failure.error_file_data.get("message", {})
        if isinstance(details, dict) and "nanoseconds" in details.get("extraInfo", {}):
            return 1, details["extraInfo"]["nanoseconds"]
        is_follower = -failure.exitcode in (signal.SIGTERM, signal.SIGABRT)
        return (2 if is_follower else 0), failure.timestamp

    return min(failures.items(), key=place)


def _describe(rank: int, failure: ProcessFailure) -> str:
    how = f"failed with exit code {failure.exitcode}"
    if failure.exitcode < 0:
        how = f"was ended by signal {-failure.exitcode} ({signal.Signals(-failure.exitcode).name})"
    details = failure.error_file_data.get("message", {})
    message = details.get("message") if isinstance(details, dict) else None
    return f"rank {rank} on {socket.gethostname()} {how}{f': {message}' if message else ''}"


def _fail(error: ChildFailedError) -> int:
    """Say in the last line what failed first; returns its exit code, as a shell gives it."""
    rank, failure = _first(error.failures)
    sys.stdout.flush()
    print(f"pretrain: error: {_describe(rank, failure)}", file=sys.stderr, flush=True)
    return failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode


def write_down(error: BaseException) -> None:
    """As a rank: why it fails and when, where torchrun looks for it."""
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if not path:
        return
    text = " ".join(str(error).split())
    message = text if isinstance(error, UserError) else f"{type(error).__name__}: {text[:500]}"
    now = time.time_ns()
    extra = {"py_callstack": message, "timestamp": str(now // 10**9), "nanoseconds": now}
    with suppress(OSError):
        Path(path).write_text(
            json.dumps({"message": {"message": message, "extraInfo": extra}}), encoding="utf-8"
        )


def run(options: argparse.Namespace, script: Path, arguments: Sequence[str]) -> int:
    """Returns 0 when all ranks have ended well, else the exit code of the first that failed (128 + its signal)."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args
    from torch.distributed.run import run as torchrun

    # Operators of one rank share its cores; more threads than cores only get in each other's way.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, _cores() // options.npus)))
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # ranks tell themselves
    line = ["--standalone", "--local-addr=127.0.0.1", f"--nproc-per-node={options.npus}", str(script)]
    try:
        torchrun(parse_args([*line, *arguments]))
    except SignalException:
        raise KeyboardInterrupt from None
    except ChildFailedError as error:
        return _fail(error)
    return 0
