# SPDX-License-Identifier: Apache-2.0
"""`mindspeed env` and `mindspeed run`."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Sequence

from mindspeed.cann import loader
from mindspeed.cann.decision import CHOICES, VARIABLE, Decision, decide


class UsageError(Exception):
    """The user asked for something that cannot be; the message says what can."""


def choose() -> Decision:
    choice = os.environ.get(VARIABLE, "")
    if choice and choice not in CHOICES:
        raise UsageError(f"{VARIABLE}={choice}: expected one of {', '.join(CHOICES)}")
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
