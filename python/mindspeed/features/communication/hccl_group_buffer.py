# SPDX-License-Identifier: Apache-2.0
"""Buffers of collectives have the size that is given for their group of ranks, instead of one for all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from mindspeed.adaptor import Conflict, Feature, Flag, Level
from mindspeed.adaptor.session import current_arguments
from mindspeed.features.communication._group_buffers import ALIASES, GROUPS, LEAST, MOST, sized

FORM = re.compile(r"\s*(\w+)\s*:\s*(\d+)\s*")


def parse(text: str) -> tuple[dict[str, int], list[str]]:
    """Sizes by group, and what is wrong. "dp:200;tp:300", with commas as well."""
    sizes: dict[str, int] = {}
    wrong = []
    for word in re.split("[;,]", text):
        found = FORM.fullmatch(word)
        if found is None:
            wrong.append(f"{word.strip()!r}: wanted GROUP:MEGABYTES, as tp:300;ep:400")
            continue
        name, size = ALIASES.get(found[1], found[1]), int(found[2])
        if name not in GROUPS:
            wrong.append(f"{found[1]}: there is no such group; wanted {', '.join((*GROUPS, *ALIASES))}")
        if not LEAST <= size <= MOST:
            wrong.append(f"{found[1]}:{size}: wanted {LEAST} to {MOST} MB")
        if name in sizes:
            wrong.append(f"{found[1]} is given twice")
        sizes[name] = size
    return sizes, wrong


def check(args: Any) -> Iterator[str]:
    for problem in parse(args.hccl_group_buffer)[1]:
        yield f"--hccl-group-buffer {problem}"


FEATURE = Feature(
    name="hccl-group-buffer",
    level=Level.ACCELERATION,
    flags=(
        Flag(
            "--hccl-group-buffer",
            "MB of the buffers of some groups, as tp:300;ep:400; the others have HCCL_BUFFSIZE.",
            type=str,
            metavar="GROUP:MB;...",
        ),
    ),
    conflicts=(Conflict(feature="hccl-group-buffer-adaptive", why="both say how large the buffers are"),),
    check=check,
    patches=sized(lambda: parse(current_arguments().hccl_group_buffer)[0]),
)
