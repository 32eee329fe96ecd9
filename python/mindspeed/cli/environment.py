# SPDX-License-Identifier: Apache-2.0
"""`mindspeed env` and `mindspeed run`."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Sequence

from mindspeed import options
from mindspeed.cann import loader
from mindspeed.cann.decision import Decision, decide


class UsageError(Exception):
    """The user asked for something that cannot be; the message says what can."""


def choose() -> Decision:
    """Refuses what the package itself reads wrongly; the rest is for aclInit."""
    for option in options.table():
        problem = option.problem(os.environ) if "the Python package" in option.readers else None
        if problem:
            raise UsageError(problem)
    return decide(os.environ)


def variables() -> tuple[Decision, dict[str, str]]:
    decision = choose()
    return decision, loader.environment_for(decision.kind, os.environ, search_path=True)


def show(*, as_json: bool) -> int:
    decision, values = variables()
    if as_json:
        print(json.dumps(values, indent=2))
        return 0
    print(f"# {decision.kind}: {decision.reason}")
    for name, value in values.items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def list_options(*, as_json: bool) -> int:
    """Every variable with its value, where that comes from, and whether it is valid. 1: one is not."""
    rows = [
        {
            "name": option.name,
            "value": option.value(os.environ),
            "from": "environment" if option.is_set(os.environ) else "default",
            "default": option.default,
            "expected": option.expected,
            "read_by": option.readers.split(", "),
            "meaning": option.meaning,
            "problem": option.problem(os.environ),
        }
        for option in options.table()
    ]
    misspelt = options.misspelt(os.environ)
    problems = options.problems(os.environ)
    if as_json:
        print(json.dumps({"options": rows, "misspelt": misspelt, "problems": problems}, indent=2))
        return 1 if problems else 0
    for option, row in zip(options.table(), rows, strict=True):
        origin = "" if row["from"] == "default" else f"  (environment; default: {option.default or 'unset'})"
        print(f"{option.name}={row['value']}{origin}")
        print(f"    {option.meaning}")
        print(f"    {option.expected}; read by {option.readers}")
    for problem in problems:
        print(f"PROBLEM  {problem}")
    return 1 if problems else 0


def run(program: str, arguments: Sequence[str]) -> int:
    """Replaces this process; returns only if the program cannot be started."""
    _, values = variables()
    command = [program, *arguments]
    if program.endswith(".py"):
        command.insert(0, sys.executable)
    try:
        os.execvpe(command[0], command, {**os.environ, **values})
    except OSError as error:
        raise UsageError(f"cannot start {command[0]}: {error.strerror}") from error
