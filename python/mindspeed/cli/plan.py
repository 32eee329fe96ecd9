# SPDX-License-Identifier: Apache-2.0
"""`mindspeed plan`: what a training command would do, without running it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mindspeed.cli import probing
from mindspeed.cli.environment import UsageError

FORMATS = ("table", "json", "html")
PROBE_S = 60.0


def show(
    command: Sequence[str], *, level: int | None, form: str, output: str | None, megatron: str | None
) -> int:
    """Exit code 1 if the command would be refused."""
    # Imported here: the other commands need neither torch nor Megatron.
    from mindspeed.planning import page, plan, report
    from mindspeed.planning.launch import CommandError

    try:
        made = plan.make(command, level, megatron, probing.probe("library", PROBE_S).get("devices"))
    except CommandError as error:
        raise UsageError(f"plan: {error}") from error
    text = {"table": report.text, "json": _json, "html": page.page}[form](made)
    write(text, output)
    return 1 if made["problems"] else 0


def compare(one: str, other: str, *, megatron: str | None) -> int:
    """Exit code 0 if the plans are equal, as of diff."""
    from mindspeed.planning import report

    plans = [_load(operand, megatron) for operand in (one, other)]
    text = report.difference(*plans)
    print(text)
    return 0 if plans[0] == {**plans[1], "command": plans[0]["command"]} else 1


def _json(plan: dict[str, Any]) -> str:
    return json.dumps(plan, indent=2)


def write(text: str, output: str | None, command: str = "plan") -> None:
    """To a file, or to standard output."""
    text = text if text.endswith("\n") else text + "\n"
    if output is None:
        sys.stdout.write(text)
        return
    try:
        _replace(Path(output), text)
    except OSError as error:
        raise UsageError(f"{command}: cannot write {output}: {error.strerror}") from error


def _replace(path: Path, text: str) -> None:
    """All of it or nothing, and then what was there stays. What is no plain file, as /dev/stdout, is written to."""
    if os.path.lexists(path) and not (path.is_file() and not path.is_symlink()):
        path.write_text(text, encoding="utf-8")
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _load(operand: str, megatron: str | None) -> dict[str, Any]:
    """A file that `mindspeed plan --format json` wrote, or a command, planned in a process of its own."""
    if operand.endswith(".json"):
        try:
            found = json.loads(Path(operand).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"plan: {operand} is no plan: {error}") from error
    else:
        found = _planned(operand, megatron)
    if not isinstance(found, dict) or not {"features", "patches", "flags"} <= set(found):
        raise UsageError(f"plan: {operand} is no plan; `mindspeed plan --format json` writes them")
    return found


def _planned(command: str, megatron: str | None) -> Any:
    options = ["--format", "json", *(("--megatron", megatron) if megatron else ())]
    words = [sys.executable, "-m", "mindspeed.cli.main", "plan", *options, "--", *shlex.split(command)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise UsageError(
            (done.stderr.strip().splitlines() or ["plan: no answer"])[-1].removeprefix("mindspeed: ")
        )
    return json.loads(done.stdout)
