# SPDX-License-Identifier: Apache-2.0
"""Groups of ranks beside Megatron's, under the names that other projects import."""

from __future__ import annotations

from typing import Any

from mindspeed import absent
from mindspeed.core.context_parallel.model_parallel_utils import (
    get_context_parallel_for_hybrid_ring_global_ranks,
    get_context_parallel_for_hybrid_ring_rank,
    get_context_parallel_for_hybrid_ring_world_size,
    get_context_parallel_for_hybrid_ulysses_world_size,
    get_context_parallel_group_for_hybrid_ring,
    get_context_parallel_group_for_hybrid_ulysses,
    get_context_parallel_group_for_send_recv_overlap,
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
    "get_context_parallel_group_for_send_recv_overlap",
    "get_data_modulo_expert_parallel_group_gloo_replace",
    "get_data_parallel_group_gloo_replace",
    "get_ring_group_for_intra_window",
    "get_ring_group_for_intra_window_send_recv_overlap",
    "get_ring_ranks_for_inter_window_dkv",
    "get_ring_ranks_for_inter_window_kv",
    "get_ring_ranks_for_intra_window",
]


def get_data_parallel_group_gloo_replace(
    with_context_parallel: bool = False, partial_data_parallel: bool = False
) -> Any:
    """In place of a group of Gloo, that of the device."""
    from megatron.core import parallel_state

    return parallel_state.get_data_parallel_group(with_context_parallel, partial_data_parallel)


def get_data_modulo_expert_parallel_group_gloo_replace(with_context_parallel: bool = False) -> Any:
    """As there, of ranks that have the same experts."""
    from megatron.core import parallel_state

    if with_context_parallel:
        return parallel_state.get_data_parallel_group(with_context_parallel=True)
    return parallel_state.get_expert_data_parallel_group()


__getattr__ = absent.attributes(
    __name__,
    {
        **dict.fromkeys(
            ("get_tensor_model_parallel_world_size_for_nd1_dim1", "initialize_ndmm_parallel_group"),
            "--tp-2d makes its groups with the first layer; mindspeed.core.tensor_parallel.comm_group_api has them",
        ),
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
