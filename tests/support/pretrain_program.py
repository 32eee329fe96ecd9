# SPDX-License-Identifier: Apache-2.0
"""examples/pretrain_gpt/pretrain.py again and again: each run is a process of its own, forked from this one, which has
imported all that a run does. Runs are told apart from those of an interpreter by nothing but that."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).parents[2] / "examples" / "pretrain_gpt"
SMALL = (
    "--layers 1 --hidden 16 --heads 2 --seq 16 --micro-batch 2 --global-batch 2 --eval-interval 9 --eval-batches 1 "
    "--save-interval 1 --warmup 1 --dtype fp32 --sample-bytes 0"
).split()
RUN_S = 600


def load() -> None:
    """All that does not start a device."""
    sys.path.insert(0, str(EXAMPLE))
    import mindspeed.megatron_adaptor  # noqa: F401

    # isort: split
    import checkpoint  # noqa: F401
    import corpus  # noqa: F401
    import dataset  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import pretrain  # noqa: F401
    import sample  # noqa: F401
    import training  # noqa: F401


@dataclass(frozen=True)
class Outcome:
    """`code`: negative for a signal, as SIGALRM where it took too long."""

    code: int
    out: str
    errors: str


def nothing() -> None:
    """To be done before or after a run."""


def _take_place(
    arguments: list[str], log: Path, before: Callable[[], None], after: Callable[[], None]
) -> int:
    import pretrain

    for number, name in ((1, "out"), (2, "errors")):
        file = os.open(log / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, number)
        os.close(file)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(RUN_S)
    before()
    try:
        return pretrain.main(arguments)
    except Exception:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        after()


def run(
    out: Path,
    *arguments: str,
    log: Path,
    before: Callable[[], None] = nothing,
    after: Callable[[], None] = nothing,
) -> Outcome:
    """`before` and `after`: what is done in the run's process, within its view of files."""
    log.mkdir(exist_ok=True)
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        sys.exit(_take_place(["--out", str(out), *SMALL, *arguments], log, before, after))
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    texts = [(log / name).read_text(encoding="utf-8", errors="replace") for name in ("out", "errors")]
    return Outcome(code, *texts)


def losses(out: Path) -> dict[int, float]:
    """By iteration, as far as the history can be read."""
    found: dict[int, float] = {}
    for line in (out / "history.jsonl").read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record: Any = json.loads(line)
            found[record["iteration"]] = record.get("loss", found.get(record["iteration"]))
        except (ValueError, TypeError, KeyError):
            continue
    return found


def write_text(path: Path) -> Path:
    path.write_text("a line of a small text\n" * 4000)
    return path
