# SPDX-License-Identifier: Apache-2.0
"""A training command taken apart: the launcher, the script and its arguments."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
# Of torchrun: options that take no value. All others take one, or have it behind "=".
_SWITCHES = {"--standalone", "--no-python", "--no_python", "--run-path", "--run_path", "-h", "--help"}


class CommandError(ValueError):
    """The command is not one that can be planned; the message says what is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """script is the Python file, words are its arguments; ranks = nodes x per_node."""

    script: str
    words: tuple[str, ...]
    per_node: int = 1
    nodes: int = 1
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def ranks(self) -> int:
        return self.per_node * self.nodes


def parse(command: Sequence[str]) -> Launch:
    """`[VAR=value ...] [torchrun ... | python [-m torch.distributed.run ...]] script.py ...`."""
    words = list(command)
    environment = {}
    while words and (words[0] == "env" or _ASSIGNMENT.match(words[0])):
        name, equals, value = words.pop(0).partition("=")
        if equals:
            environment[name] = value
    script = next((index for index, word in enumerate(words) if word.endswith(".py")), None)
    if script is None:
        raise CommandError(
            "no script: wanted `torchrun --nproc-per-node 8 pretrain_gpt.py --flags ...` or `python pretrain_gpt.py --flags ...`"
        )
    options = _launcher_options(words[:script])
    return Launch(
        script=words[script],
        words=tuple(words[script + 1 :]),
        per_node=_count(options.get("nproc_per_node", "1"), "--nproc-per-node"),
        nodes=_count(options.get("nnodes", "1"), "--nnodes"),
        environment=environment,
    )


def _launcher_options(words: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        if not word.startswith("--") or word in _SWITCHES:
            continue
        name, equals, value = word.partition("=")
        found[name.lstrip("-").replace("-", "_")] = value if equals else next(rest, "")
    return found


def _count(text: str, option: str) -> int:
    """An elastic range MIN:MAX counts as its largest."""
    number = text.rpartition(":")[2]
    if not number.isdigit() or int(number) < 1:
        raise CommandError(f"{option} {text}: wanted a number of at least 1")
    return int(number)
