# SPDX-License-Identifier: Apache-2.0
"""Groups of ranks beside Megatron's, under the names that other projects import."""

from __future__ import annotations

from mindspeed import absent
from mindspeed.core.context_parallel.model_parallel_utils import (
    get_context_parallel_for_hybrid_ring_global_ranks,
    get_context_parallel_for_hybrid_ring_rank,
    get_context_parallel_for_hybrid_ring_world_size,
    get_context_parallel_for_hybrid_ulysses_world_size,
    get_context_parallel_group_for_hybrid_ring,
    get_context_parallel_group_for_hybrid_ulysses,
    get_ring_group_for_intra_window,
    get_ring_group_for_intra_window_send_recv_overlap,
    get_ring_ranks_for_inter_window_dkv,
    get_ring_ranks_for_inter_window_kv,
    get_ring_ranks_for_intra_window,
)

__all__ = [
    "get_context_parallel_for_hybrid_ring_global_ranks",
    "get_context_parallel_for_hybrid_ring_rank",
    "get_context_parallel_for_hybrid_ring_world_size",
    "get_context_parallel_for_hybrid_ulysses_world_size",
    "get_context_parallel_group_for_hybrid_ring",
    "get_context_parallel_group_for_hybrid_ulysses",
    "get_ring_group_for_intra_window",
    "get_ring_group_for_intra_window_send_recv_overlap",
    "get_ring_ranks_for_inter_window_dkv",
    "get_ring_ranks_for_inter_window_kv",
    "get_ring_ranks_for_intra_window",
]

__getattr__ = absent.attributes(
    __name__,
    {
        "get_tensor_model_parallel_world_size_for_nd1_dim1": "tensor parallelism has one dimension",
        "initialize_ndmm_parallel_group": "tensor parallelism has one dimension",
        **dict.fromkeys(
            (
                "initialize_context_parallel_group_for_double_ring",
                "initialize_context_parallel_group_for_hybrid_cp",
                "initialize_context_parallel_group_for_send_recv_overlap",
            ),
            "Megatron's initialize_model_parallel makes all groups of context parallelism",
        ),
    },
)
