# SPDX-License-Identifier: Apache-2.0
"""Which ranks of a context-parallel group exchange heads, and which are a ring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch

RING, ULYSSES, HYBRID = "megatron_cp_algo", "ulysses_cp_algo", "hybrid_cp_algo"
ADAPTIVE, HYBRID_ADAPTIVE = "adaptive_cp_algo", "hybrid_adaptive_cp_algo"


@dataclass(frozen=True, slots=True)
class Groups:
    """Of this rank. Neighbours exchange heads; a ring of rings has windows of neighbours."""

    exchanging: Any = None
    ring: Any = None
    window: Any = None


_groups: WeakKeyDictionary[Any, dict[tuple[int, int], Groups]] = WeakKeyDictionary()


def degree(args: Any, size: int) -> int:
    """Over how many ranks heads are exchanged for sequence; what is left of the group is a ring."""
    if args.context_parallel_algo in (HYBRID, HYBRID_ADAPTIVE):
        return int(args.ulysses_degree_in_cp or 1)
    return size if args.context_parallel_algo == ULYSSES else 1


def _made(ranks: list[int], of_all: list[int], group: Any) -> Any:
    """By its members alone, when the first of their layers runs."""
    if len(ranks) == 1:
        return None
    if ranks == of_all:
        return group
    return torch.distributed.new_group(ranks, use_local_synchronization=True)


def groups_of(config: Any) -> Groups:
    from megatron.core import parallel_state

    group = parallel_state.get_context_parallel_group()
    heads, wide = degree(config, group.size()), config.cp_window_size
    kept = _groups.setdefault(group, {})
    if (heads, wide) not in kept:
        ranks, at = torch.distributed.get_process_group_ranks(group), group.rank()
        first = at - at % heads
        ring, place = ranks[at % heads :: heads], at // heads
        start = place - place % wide
        kept[heads, wide] = Groups(
            _made(ranks[first : first + heads], ranks, group),
            _made(ring[place % wide :: wide], ranks, group),
            _made(ring[start : start + wide], ranks, group),
        )
    return kept[heads, wide]
