# SPDX-License-Identifier: Apache-2.0
"""Start one rank per NPU with torchrun, in this process, and wait for them. Ctrl-C ends all."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from errors import UserError


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


def run(options: argparse.Namespace, script: Path, arguments: Sequence[str]) -> int:
    """Returns 0 when all ranks have ended well, else the return code of the first that failed."""
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
        code = error.get_first_failure()[1].exitcode
        return code if code > 0 else 1
    return 0
