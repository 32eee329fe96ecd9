# SPDX-License-Identifier: Apache-2.0
"""Buffers of collectives have the size that is given for their group of ranks, instead of one for all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mindspeed.adaptor import Conflict, Feature, Flag, Level
from mindspeed.adaptor.session import current_arguments
from mindspeed.features.communication._group_options import Numbers, with_option

OPTION = "hccl_buffer_size"
SIZES = Numbers(1, 65536, "GROUP:MEGABYTES, as tp:300;ep:400", " MB")  # as HCCL_BUFFSIZE


def check(args: Any) -> Iterator[str]:
    for problem in SIZES.parse(args.hccl_group_buffer)[1]:
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
    patches=with_option(OPTION, lambda: SIZES.parse(current_arguments().hccl_group_buffer)[0]),
)
