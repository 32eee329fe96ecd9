# SPDX-License-Identifier: Apache-2.0
"""Batches of packed sequences and of context parallelism, under the names that other projects import."""

from __future__ import annotations

from mindspeed import absent
from mindspeed.utils import (
    _broadcast,
    batch_index,
    broadcast_dynamic,
    get_actual_seq_len,
    get_batch_on_this_cp_rank,
    get_ring_degree,
    set_actual_seq_len,
)

__all__ = [
    "_broadcast",
    "_get_batch_on_this_cp_rank_in_megatron_cp",
    "batch_index",
    "broadcast_dynamic",
    "get_actual_seq_len",
    "get_batch_on_this_cp_rank",
    "get_ring_degree",
    "set_actual_seq_len",
]

_get_batch_on_this_cp_rank_in_megatron_cp = get_batch_on_this_cp_rank

_OTHER_WAYS = "adaptive_cp hybrid_adaptive_cp hybrid_cp hybrid_cp_general megatron_cp_general megatron_cp_eod_padding ulysses_cp"
__getattr__ = absent.attributes(
    __name__,
    dict.fromkeys(
        [
            "_get_batch_on_this_tp_y_cp_rank_in_megatron_cp",
            *(f"_get_batch_on_this_cp_rank_in_{way}" for way in _OTHER_WAYS.split()),
        ],
        "context parallelism is Megatron's: get_batch_on_this_cp_rank deals out a batch",
    ),
)
