# SPDX-License-Identifier: Apache-2.0
"""Groups of ranks beside one of Megatron's: the same ranks, with messages that wait for none of the other group's."""

from __future__ import annotations

from typing import Any

import torch

_made: dict[tuple[int, str], tuple[Any, list[Any]]] = {}  # by the identity of Megatron's group and a purpose


def is_beside(group: Any) -> bool:
    """Whether it is one of those."""
    return any(group is made for _, groups in _made.values() for made in groups)


def _named(name: str) -> dict[str, Any]:
    """For errors, traces and the speed of links."""
    if not name:
        return {}
    import torch_npu

    options = torch_npu._C._distributed_c10d.ProcessGroupHCCL.Options()
    options.hccl_config = {"group_name": name}
    return {"pg_options": options}


def beside(group: Any, purpose: str, count: int, name: str = "") -> list[Any]:
    """`count` more groups of the same ranks, which HCCL knows by `name`. Made once; every rank of the job comes here, for the same
    purposes in one order."""
    kept = _made.get((id(group), purpose))
    if kept is not None and kept[0] is group and len(kept[1]) == count:
        return kept[1]
    mine = torch.distributed.get_process_group_ranks(group)
    rows: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(rows, mine)
    groups: list[Any] = []
    for ranks in sorted({tuple(row) for row in rows}):
        made = [torch.distributed.new_group(list(ranks), **_named(name)) for _ in range(count)]
        if ranks == tuple(mine):
            groups = made
    _made[id(group), purpose] = group, groups
    return groups
