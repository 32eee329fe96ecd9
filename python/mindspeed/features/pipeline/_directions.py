# SPDX-License-Identifier: Apache-2.0
"""Groups of ranks for messages between neighbours of a pipeline, one for each direction.

A group has a communicator for two ranks, whose messages follow each other. Where one rank only sends in it and the other only
receives, neither waits for a message whose receiver waits as well, and both directions are under way at once.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch

DOWN, UP = 1, -1  # to the next rank of the pipeline, to the one before
# By the identity of Megatron's group and the names of what was made for it; and that group.
_made: dict[tuple[int, tuple[Hashable, ...]], tuple[Any, dict[Any, Any]]] = {}


def directions(pipeline: Any) -> dict[int, Any]:
    """A group of HCCL for messages to the next rank, and one for those to the rank before."""
    return lanes(pipeline, (DOWN, UP))


def lanes(pipeline: Any, names: tuple[Hashable, ...]) -> dict[Any, Any]:
    """A group of HCCL for each name, of the ranks of a pipeline.

    Made once for a group of Megatron; every rank of the job comes here in its first step.
    """
    kept = _made.get((id(pipeline), names))
    if kept is not None and kept[0] is pipeline:
        return kept[1]
    _made.clear()  # those of a job before
    mine = torch.distributed.get_process_group_ranks(pipeline)
    rows: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(rows, mine)
    groups: dict[Any, Any] = {}
    for ranks in sorted({tuple(row) for row in rows}):
        for name in names:
            group = torch.distributed.new_group(list(ranks))
            if ranks == tuple(mine):
                groups[name] = group
    _made[id(pipeline), names] = pipeline, groups
    return groups
