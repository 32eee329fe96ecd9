# SPDX-License-Identifier: Apache-2.0
"""The order of a sequence that is dealt out to the ranks of a context-parallel group.

Of 2n chunks rank r has the r-th and the r-th from the end, so gathered ones lie as 0, 2n-1, 1, 2n-2, ...
"""

from __future__ import annotations

from typing import Any

import torch

from mindspeed.te.pytorch.attention.dot_product_attention.utils import (
    get_distributed_rank,
    get_distributed_world_size,
)

__all__ = [
    "get_distributed_rank",
    "get_distributed_world_size",
    "get_seq_chunk_ids_for_reordering_after_attn",
    "get_seq_chunk_ids_for_reordering_before_attn",
]


def _held(cp_size: int) -> list[int]:
    """The chunk at each place of what ranks hold, one behind the other."""
    return [chunk for rank in range(cp_size) for chunk in (rank, 2 * cp_size - 1 - rank)]


def get_seq_chunk_ids_for_reordering_before_attn(cp_size: int, device: Any) -> torch.Tensor:
    """Where each chunk of the sequence lies in what was gathered: index_select by it gives the sequence."""
    held = _held(cp_size)
    return torch.tensor([held.index(chunk) for chunk in range(2 * cp_size)], dtype=torch.int32, device=device)


def get_seq_chunk_ids_for_reordering_after_attn(cp_size: int, device: Any) -> torch.Tensor:
    """The other way: index_select by it deals the sequence out."""
    return torch.tensor(_held(cp_size), dtype=torch.int32, device=device)
