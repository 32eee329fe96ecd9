# SPDX-License-Identifier: Apache-2.0
"""Parts of what tensor-parallel ranks do not share evenly: the first ranks have one more."""

from __future__ import annotations

from typing import Any

import torch

from mindspeed.adaptor import session


def share(number: int, size: int, rank: int) -> int:
    return number // size + (rank < number % size)


def start(number: int, size: int, rank: int) -> int:
    """What the ranks before have together."""
    return rank * (number // size) + min(rank, number % size)


def shares(number: int, size: int) -> list[int]:
    return [share(number, size, rank) for rank in range(size)]


def tensor_parallel(group: Any = None) -> Any:
    """The group, unless `group` is another one: None then."""
    from megatron.core import parallel_state

    own = parallel_state.get_tensor_model_parallel_group(check_initialized=False)
    return own if group is None or group is own else None


def _fixed() -> int:
    """Tokens of a micro-batch on the ranks of a tensor-parallel group together; 0 where they differ or nobody says."""
    args = session.current_arguments()
    length = getattr(args, "seq_length", None)
    if length is None or getattr(args, "variable_seq_lengths", False):
        return 0
    return int(length) // (getattr(args, "context_parallel_size", 1) or 1)


def lengths(own: int, group: Any) -> list[int] | None:
    """Of all ranks' parts of a sequence, if they are not as long as this rank's. Ranks ask each other where arguments do
    not say."""
    size = group.size()
    if size == 1:
        return None
    total = _fixed()
    if total:
        found = shares(total, size)
        if total % size == 0 or own != found[group.rank()]:
            return None
        return found
    device = torch.device("npu", torch.npu.current_device())
    mine = torch.tensor([own], dtype=torch.int64, device=device)
    all_of = torch.empty(size, dtype=torch.int64, device=device)
    torch.distributed.all_gather_into_tensor(all_of, mine, group=group)
    found = all_of.tolist()
    return found if min(found) != max(found) else None
