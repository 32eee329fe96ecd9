# SPDX-License-Identifier: Apache-2.0
"""`mindspeed memory`: run a training command, and show which module held what when most device memory was in use."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from mindspeed.cli import plan
from mindspeed.cli.environment import UsageError, variables
from mindspeed.memory import page, report, script
from mindspeed.memory.records import RecordError, read_all
from mindspeed.planning.launch import CommandError, parse

FORMATS = ("table", "json", "html")
STEPS, DEPTH = 3, 3
_STDERR = 2  # where what the program prints goes: standard output has the table alone


def run(command: Sequence[str], *, steps: int, record: str | None, read: str | None, rank: int | None, depth: int,
        form: str, output: str | None) -> int:  # fmt: skip
    """The exit code of the command; what was recorded until it failed is shown all the same."""
    if bool(command) == bool(read):
        raise UsageError("memory: give a command behind --, or a folder with --read, and not both")
    for name, number in (("--steps", steps), ("--depth", depth)):
        if number < 1:
            raise UsageError(f"memory: {name} is {number}, wanted 1 or more")
    if read:
        _show(Path(read), "", rank=rank, depth=depth, form=form, output=output)
        return 0
    with _folder(record) as folder:
        code = _start(command, folder, steps)
        try:
            _show(folder, shlex.join(command), rank=rank, depth=depth, form=form, output=output)
        except UsageError as error:
            raise UsageError(f"{error}; {_how(code)}") from error
    if code:
        print(f"mindspeed: memory: {_how(code)}", file=sys.stderr)
    return code


def _how(code: int) -> str:
    if code < 0:
        return f"the command was ended by {signal.Signals(-code).name}"
    return f"the command ended with exit code {code}"


@contextlib.contextmanager
def _folder(record: str | None) -> Iterator[Path]:
    """One that stays, or one for as long as it takes."""
    if record is None:
        with tempfile.TemporaryDirectory(prefix="mindspeed-memory-") as name:
            yield Path(name)
        return
    folder = Path(record)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"memory: cannot make {record}: {error.strerror}") from error
    if any(folder.glob("rank*.json")):
        raise UsageError(
            f"memory: {record} has a record already, which is not overwritten; give another folder, or see it by --read {record}"
        )
    yield folder.resolve()


def recorded(command: Sequence[str], folder: Path, steps: int) -> list[str]:
    """The command with our script in front of its own: whatever launches it launches that."""
    try:
        launch = parse(command)
    except CommandError as error:
        raise UsageError(f"memory: {error}") from error
    place = list(command).index(launch.script)
    if not Path(launch.script).is_file():
        raise UsageError(f"memory: there is no {launch.script}")
    front = list(command[:place])
    if front[-1:] == ["-m"]:
        raise UsageError("memory: a module of -m cannot be recorded; give its file")
    own = [str(Path(script.__file__).resolve()), str(folder), str(steps), launch.script]
    words = [*front, *own, *command[place + 1 :]]
    if words[0] == own[0]:
        return [sys.executable, *words]
    return words if "=" not in words[0] or words[0] == "env" else ["env", *words]


def _start(command: Sequence[str], folder: Path, steps: int) -> int:
    """What the command prints goes to stderr: the table alone is on stdout. Ctrl-C is the command's."""
    words = recorded(command, folder, steps)
    environment = {**os.environ, **variables()[1]}
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with subprocess.Popen(
            words, env=environment, stdout=_STDERR,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        ) as process:  # fmt: skip
            return process.wait()
    except OSError as error:
        raise UsageError(f"memory: cannot start {words[0]}: {error.strerror}") from error
    finally:
        signal.signal(signal.SIGINT, before)


def _show(folder: Path, command: str, *, rank: int | None, depth: int, form: str, output: str | None) -> None:
    if not folder.is_dir():
        raise UsageError(f"memory: {folder} is no folder; give one that --record has written")
    try:
        ranks = report.play(read_all(folder))
    except RecordError as error:
        raise UsageError(f"memory: {error}") from error
    numbers = [one.recording.rank for one in ranks]
    if rank is not None and rank not in numbers:
        raise UsageError(f"memory: no record of rank {rank}; there is {', '.join(map(str, numbers))}")
    shown = report.fullest(ranks) if rank is None else ranks[numbers.index(rank)]
    if form == "json":
        made = json.dumps({"command": command, **report.as_object(ranks)}, indent=2)
    else:
        made = page.page(ranks, shown, depth, command) if form == "html" else report.text(ranks, shown, depth)
    plan.write(made, output, "memory")
