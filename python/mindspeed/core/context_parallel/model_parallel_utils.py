# SPDX-License-Identifier: Apache-2.0
"""Groups of context parallelism, under the names that other projects import.

The ring is the group of all ranks that share a sequence, which Megatron makes; there are no groups within it.
"""

from __future__ import annotations

import torch

from mindspeed import absent
from mindspeed.features.compatibility.context_parallel import get_context_parallel_group_for_send_recv_overlap

__all__ = [
    "get_context_parallel_for_hybrid_ring_global_ranks",
    "get_context_parallel_for_hybrid_ring_rank",
    "get_context_parallel_for_hybrid_ring_world_size",
    "get_context_parallel_for_hybrid_ulysses_world_size",
    "get_context_parallel_group_for_hybrid_ring",
    "get_context_parallel_group_for_hybrid_ulysses",
    "get_context_parallel_group_for_send_recv_overlap",
    "get_ring_group_for_intra_window",
    "get_ring_group_for_intra_window_send_recv_overlap",
    "get_ring_ranks_for_inter_window_dkv",
    "get_ring_ranks_for_inter_window_kv",
    "get_ring_ranks_for_intra_window",
]


def get_context_parallel_group_for_hybrid_ring(
    check_initialized: bool = True,
) -> torch.distributed.ProcessGroup:
    from megatron.core import parallel_state

    return parallel_state.get_context_parallel_group(check_initialized)


def get_context_parallel_for_hybrid_ring_world_size() -> int:
    from megatron.core import parallel_state

    return parallel_state.get_context_parallel_world_size()


def get_context_parallel_for_hybrid_ring_rank() -> int:
    from megatron.core import parallel_state

    return parallel_state.get_context_parallel_rank()


def get_context_parallel_for_hybrid_ring_global_ranks() -> list[int]:
    from megatron.core import parallel_state

    return parallel_state.get_context_parallel_global_ranks()


def get_context_parallel_group_for_hybrid_ulysses(check_initialized: bool = True) -> None:
    """None like a group that was not made, or an AssertionError where one is wanted."""
    assert not check_initialized, (
        "there is no group for Ulysses within context parallelism: the heads are not spread over ranks here"
    )


def get_context_parallel_for_hybrid_ulysses_world_size() -> int:
    """Each rank has all heads."""
    return 1


# Windows of a ring: each rank is one of its own here.


def get_ring_ranks_for_intra_window() -> list[int]:
    return [torch.distributed.get_rank()]


def get_ring_ranks_for_inter_window_kv() -> list[int]:
    return get_context_parallel_for_hybrid_ring_global_ranks()


def get_ring_ranks_for_inter_window_dkv() -> list[int]:
    return get_context_parallel_for_hybrid_ring_global_ranks()


def get_ring_group_for_intra_window() -> None:
    """None: there is nobody to send to."""


def get_ring_group_for_intra_window_send_recv_overlap() -> None:
    """None, as there."""


_IN_MEGATRON = (
    "Megatron's initialize_model_parallel makes all groups of context parallelism, and destroys them"
)
__getattr__ = absent.attributes(
    __name__,
    {
        **dict.fromkeys(
            (
                "destroy_model_parallel_cp_wrapper",
                "initialize_model_parallel_cp_wrapper",
                "initialize_context_parallel_group_for_double_ring",
                "initialize_context_parallel_group_for_hybrid_cp",
                "initialize_context_parallel_group_for_send_recv_overlap",
            ),
            _IN_MEGATRON,
        ),
    },
)
