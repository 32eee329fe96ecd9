# SPDX-License-Identifier: Apache-2.0
"""softmax(scale q k^T) v with the signatures of flash-attn 2; a causal mask's last query is at the last key."""

from __future__ import annotations

from typing import Any

import torch

from mindspeed.ops.attention import (
    BOTTOM_RIGHT,
    Core,
    attend,
    attend_packed,
    window_mask,
)
from mindspeed.standins.refusal import RefusedError, missing_attribute

__getattr__ = missing_attribute(__name__)

Window = tuple[int, int]
EVERYWHERE = (-1, -1)


def _refuse(**options: Any) -> None:
    for name, value in options.items():
        if value is not None and value is not False and value != 0:
            raise RefusedError(f"flash_attn({name}={value!r})")


def _core(q: torch.Tensor, softmax_scale: float | None, dropout_p: float) -> Core:
    return Core(scale=q.shape[-1] ** -0.5 if softmax_scale is None else softmax_scale, dropout=dropout_p)


def _window(window_size: Window) -> Window | None:
    return None if tuple(window_size) == EVERYWHERE else (window_size[0], window_size[1])


def flash_attn_func(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: Window = EVERYWHERE,
    softcap: float = 0.0,
    alibi_slopes: torch.Tensor | None = None,
    deterministic: bool = False,
    return_attn_probs: bool = False,
) -> torch.Tensor:
    """q [b,s,h,d], k and v [b,t,g,d] -> [b,s,h,d]"""
    _refuse(softcap=softcap, alibi_slopes=alibi_slopes, return_attn_probs=return_attn_probs)
    window = _window(window_size)
    mask = None if window is None else window_mask(q.shape[1], k.shape[1], window, q.device)
    return attend(
        q, k, v, _core(q, softmax_scale, dropout_p), mask=mask, causal=BOTTOM_RIGHT if causal else 0
    )


def flash_attn_varlen_func(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    cu_seqlens_q: torch.Tensor,
    cu_seqlens_k: torch.Tensor,
    max_seqlen_q: int | None = None,
    max_seqlen_k: int | None = None,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: Window = EVERYWHERE,
    softcap: float = 0.0,
    alibi_slopes: torch.Tensor | None = None,
    deterministic: bool = False,
    return_attn_probs: bool = False,
    block_table: torch.Tensor | None = None,
) -> torch.Tensor:
    """q [t,h,d], k and v [u,g,d] of several sequences -> [t,h,d]"""
    _refuse(
        softcap=softcap,
        alibi_slopes=alibi_slopes,
        return_attn_probs=return_attn_probs,
        block_table=block_table,
    )
    return attend_packed(
        q, k, v, cu_seqlens_q.tolist()[1:], cu_seqlens_k.tolist()[1:], _core(q, softmax_scale, dropout_p),
        causal=BOTTOM_RIGHT if causal else 0, window=_window(window_size),
    )  # fmt: skip


flash_attn_unpadded_func = flash_attn_varlen_func


def flash_attn_with_kvcache(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    k: torch.Tensor | None = None,
    v: torch.Tensor | None = None,
    rotary_cos: torch.Tensor | None = None,
    rotary_sin: torch.Tensor | None = None,
    cache_seqlens: int | torch.Tensor | None = None,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: Window = EVERYWHERE,
    **refused: Any,
) -> torch.Tensor:
    """One step of decoding: new keys and values are put behind those of the cache, and all of these are attended to."""
    refused.pop("rotary_interleaved", None)
    _refuse(rotary_cos=rotary_cos, rotary_sin=rotary_sin, **refused)
    batch, room = k_cache.shape[:2]
    if cache_seqlens is None:
        cache_seqlens = room
    filled = [cache_seqlens] * batch if isinstance(cache_seqlens, int) else cache_seqlens.tolist()
    outs = []
    for i, before in enumerate(filled):
        after = before
        if k is not None and v is not None:
            after = before + k.shape[1]
            k_cache[i, before:after] = k[i]
            v_cache[i, before:after] = v[i]
        outs.append(
            flash_attn_func(
                q[i : i + 1], k_cache[i : i + 1, :after], v_cache[i : i + 1, :after],
                softmax_scale=softmax_scale, causal=causal, window_size=window_size,
            )
        )  # fmt: skip
    return torch.cat(outs)
