# SPDX-License-Identifier: Apache-2.0
"""Work of a benchmark in a process of its own, which starts from the state of this one."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any


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
