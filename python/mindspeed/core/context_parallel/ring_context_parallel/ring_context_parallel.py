# SPDX-License-Identifier: Apache-2.0
"""Attention in a ring of ranks, under the name that other projects import.

Megatron's own attention does the same by --context-parallel-algo megatron_cp_algo, with masks, packed sequences and windows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mindspeed import absent
from mindspeed.features.sequence import context_parallel_kv_cache as cache
from mindspeed.features.sequence._ring import Ring, ring_attention

__all__ = ["ringattn_context_parallel"]


def ringattn_context_parallel(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    n: int,
    cp_para: Mapping[str, Any],
    softmax_scale: float | None = None,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    packed_seq_params: Any = None,
    shapes: Any = None,
) -> Tensor:
    """[s / ranks, b, n * d] -> [s / ranks, b, n * d] of the values; rank r holds the r-th chunk of 2 x ranks and the r-th from the end.

    cp_para   cp_group; causal (then attn_mask does not matter); what is not the default: pse with pse_type 2 (slopes of heads),
              cache_policy ("full", "half"), cp_group_for_send_recv_overlap (messages travel meanwhile). There is one ring of all.
    """
    causal = cp_para.get("causal", True)
    _refuse(cp_para, None if causal else attn_mask, packed_seq_params, shapes)
    size = q.shape[-1] // n
    heads = k.shape[-1] // size
    ring = Ring(
        group=cp_para["cp_group"],
        scale=size**-0.5 if softmax_scale is None else softmax_scale,
        keep=1.0 - dropout_p,
        causal=causal,
        slopes=cp_para.get("pse"),
        overlap=cp_para.get("cp_group_for_send_recv_overlap") is not None,
        keeps=cache.kept_by(cp_para.get("cache_policy")),
    )
    by_heads = [t.unflatten(-1, (heads, t.shape[-1] // heads)) for t in (k, v)]
    return ring_attention(
        q.unflatten(-1, (n, size)), by_heads[0], by_heads[1], ring, contextlib.nullcontext()
    )


def _refuse(cp_para: Mapping[str, Any], mask: Any, packed: Any, shapes: Any) -> None:
    instead = "--context-parallel-algo megatron_cp_algo (or repatch) makes Megatron's attention do it"
    if mask is not None:
        raise NotImplementedError(f"ringattn_context_parallel: attn_mask without causal; {instead}")
    if packed is not None:
        raise NotImplementedError(f"ringattn_context_parallel: packed_seq_params; {instead}")
    if shapes is not None:
        raise NotImplementedError(
            "ringattn_context_parallel: shapes of ranks that differ; pad them to one length"
        )
    if cp_para.get("pse") is not None and cp_para.get("pse_type") != 2:
        raise NotImplementedError(
            f"ringattn_context_parallel: pse_type is {cp_para.get('pse_type')}, and a ring has slopes alone; give 2"
        )


_NO_PARTS = "a ring is chosen by --context-parallel-algo and has no parts to build on"
__getattr__ = absent.attributes(
    __name__,
    dict.fromkeys(
        (
            "AttentionStrategyFactory", "AttentionWithCp", "CausalEodAttentionStrategy",
            "CausalRegularAttentionStrategy", "GeneralAttentionStrategy", "KVCacheManager",
            "causal_backward_fetch", "causal_forward_fetch", "causal_grad_update",
            "flash_attention_with_alibi_pse", "flash_attention_with_alibi_pse_grad",
            "ringattn_context_parallel_tnd_general", "tnd_backward_fetch", "tnd_forward_fetch", "tnd_grad_update",
        ),
        _NO_PARTS,
    ),
)  # fmt: skip
