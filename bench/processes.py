# SPDX-License-Identifier: Apache-2.0
"""Work of a benchmark in a process of its own, which starts from the state of this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any


def on_ranks(ranks: int, line: list[str], **variables: str) -> str:
    """What a program of this folder prints on as many ranks of this machine, each on one thread."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | variables
    done = subprocess.run([*launch, *line], env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stderr[-4000:])
    return done.stdout


def in_process(work: Callable[[], Any], result: Path) -> int:
    """The number of a process that does the work and writes what comes of it."""
    pid = os.fork()
    if pid:
        return pid
    try:
        result.write_text(json.dumps(work()))
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
