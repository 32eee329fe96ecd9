# SPDX-License-Identifier: Apache-2.0
"""Attention in a ring of ranks, under the name that other projects import.

Megatron's own attention does the same by --context-parallel-algo megatron_cp_algo, with masks and windows too.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mindspeed import absent
from mindspeed.features.sequence import context_parallel_kv_cache as cache
from mindspeed.features.sequence._packed import Halves, halves_of
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

    Packed sequences, causal: [t, n, d] -> [t, n, d]; rank r holds these two chunks of each sequence, one sequence behind the other.
    Their ends are those of all ranks' tokens in cu_seqlens_q_padded or, where that is None, of this rank's in cu_seqlens_q.
    Packed sequences without causal: tokens see what is before them in their sequence all the same, but rank r holds the r-th
    stretch [s / ranks, b, n * d] of s tokens, and cu_seqlens_q are ends in [b * s].

    cp_para   cp_group; causal (then attn_mask does not matter); what is not the default: pse with pse_type 2 (slopes of heads),
              cache_policy ("full", "half"), cp_group_for_send_recv_overlap (messages travel meanwhile). There is one ring of all.
    """
    causal = cp_para.get("causal", True)
    _refuse(cp_para, None if causal else attn_mask, packed_seq_params, shapes)
    by_sequences = packed_seq_params is not None and causal
    size = q.shape[-1] if by_sequences else q.shape[-1] // n
    ring = Ring(
        group=cp_para["cp_group"],
        scale=size**-0.5 if softmax_scale is None else softmax_scale,
        keep=1.0 - dropout_p,
        causal=causal,
        slopes=cp_para.get("pse"),
        overlap=cp_para.get("cp_group_for_send_recv_overlap") is not None,
        keeps=cache.kept_by(cp_para.get("cache_policy")),
    )
    if by_sequences:
        ring = dataclasses.replace(ring, packed=_halves(packed_seq_params, q, ring.size))
        return ring_attention(q, k, v, ring, contextlib.nullcontext()).view(*q.shape[:2], v.shape[-1])
    if packed_seq_params is not None:
        ring = dataclasses.replace(ring, mask=_hidden(packed_seq_params, q, ring), stretches=True)
    heads = k.shape[-1] // size
    by_heads = [t.unflatten(-1, (heads, t.shape[-1] // heads)) for t in (k, v)]
    return ring_attention(
        q.unflatten(-1, (n, size)), by_heads[0], by_heads[1], ring, contextlib.nullcontext()
    )


def _ends(packed: Any, tokens: int, of: str) -> Tensor:
    """Where sequences end, on the host. A 0 before them, as Megatron has it, is no sequence."""
    found: Tensor = packed.cu_seqlens_q.cpu()
    if not torch.equal(found, packed.cu_seqlens_kv.cpu()):
        raise NotImplementedError(
            "ringattn_context_parallel: packed_seq_params whose keys have other lengths than their queries; give them the same"
        )
    found = found[found > 0]
    if int(found[-1]) != tokens:
        raise ValueError(
            f"ringattn_context_parallel: packed_seq_params ends at {int(found[-1])}, and {of} are {tokens}"
        )
    return found


def _halves(packed: Any, q: Tensor, ranks: int) -> Halves:
    padded = getattr(packed, "cu_seqlens_q_padded", None)
    if padded is None:
        ends = _ends(packed, q.shape[0], "this rank's tokens")
    else:
        of_all = padded.cpu()
        if bool((of_all.diff() % (2 * ranks)).any()) or int(of_all[-1]) != q.shape[0] * ranks:
            raise ValueError(
                f"ringattn_context_parallel: cu_seqlens_q_padded is {of_all.tolist()}: {ranks} ranks of {q.shape[0]} tokens share "
                f"sequences of a multiple of {2 * ranks} tokens that end at {q.shape[0] * ranks}"
            )
        ends = of_all[of_all > 0] // ranks
    return halves_of(ends, q.device)


def _hidden(packed: Any, q: Tensor, ring: Ring) -> Tensor:
    """[b, 1, own queries, whole sequence]: keys of other sequences and behind a query."""
    own, batch = q.shape[:2]
    whole = own * ring.size
    ends = _ends(packed, batch * whole, "the tokens of all ranks and batch entries")
    token = torch.arange(batch * whole).view(batch, whole)
    sequence = torch.searchsorted(ends, token, right=True)
    mine = slice(ring.rank * own, (ring.rank + 1) * own)
    others = sequence[:, mine, None] != sequence[:, None, :]
    behind = token[:, mine, None] < token[:, None, :]
    return (others | behind).unsqueeze(1).to(q.device)


def _refuse(cp_para: Mapping[str, Any], mask: Any, packed: Any, shapes: Any) -> None:
    instead = "--context-parallel-algo megatron_cp_algo (or repatch) makes Megatron's attention do it"
    if mask is not None and packed is None:
        raise NotImplementedError(f"ringattn_context_parallel: attn_mask without causal; {instead}")
    if packed is not None and cp_para.get("pse") is not None:
        raise NotImplementedError(
            "ringattn_context_parallel: pse with packed_seq_params; leave one of them out"
        )
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
