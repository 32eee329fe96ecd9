# SPDX-License-Identifier: Apache-2.0
"""softmax(scale q k^T) v with the signatures of flash-attn 2; a causal mask's last query is at the last key."""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch_npu

from mindspeed.ops.attention import (
    BOTTOM_RIGHT,
    Core,
    attend,
    attend_packed,
    triangle,
    window_mask,
)
from mindspeed.standins.refusal import RefusedError, missing_attribute

__getattr__ = missing_attribute(__name__)

Window = tuple[int, int]
EVERYWHERE = (-1, -1)


def _refuse(**options: Any) -> None:
    for name, value in options.items():
        if isinstance(value, torch.Tensor):
            raise RefusedError(f"flash_attn({name}: a tensor of {tuple(value.shape)})")
        if value is not None and value is not False and value != 0:
            raise RefusedError(f"flash_attn({name}={value!r})")


def _attend_pages(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, block_table: torch.Tensor, ends: list[int], lengths: list[int],
    scale: float, causal: bool,
) -> torch.Tensor:  # fmt: skip
    """q [t,h,d], k and v [pages, rows of a page, g, d], ends of the sequences in q, lengths of their keys -> [t,h,d]"""
    options: dict[str, Any] = {}
    if causal:  # the triangle that sparse mode 3 moves to each sequence's last key
        options = {"sparse_mode": 3, "atten_mask": triangle(q.device)}
    out: torch.Tensor = torch_npu.npu_fused_infer_attention_score(
        q, k.flatten(2), v.flatten(2), num_heads=q.shape[1], num_key_value_heads=k.shape[2], input_layout="TND",
        scale=scale, block_table=block_table[: len(ends)].to(torch.int32), block_size=k.shape[1],
        actual_seq_lengths=ends, actual_seq_lengths_kv=lengths, **options,
    )[0]  # fmt: skip
    return out


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
    """q [t,h,d], k and v [u,g,d] of several sequences -> [t,h,d]

    With block_table [sequences, most pages] k and v are [pages, rows of a page, g, d]. Rows of q behind the last sequence, which
    batches of a fixed size have, give zeros.
    """
    _refuse(softcap=softcap, alibi_slopes=alibi_slopes, return_attn_probs=return_attn_probs)
    ends_q, ends_k = cu_seqlens_q.tolist(), cu_seqlens_k.tolist()
    core, rows = _core(q, softmax_scale, dropout_p), q[: ends_q[-1]]
    if block_table is None:
        out = attend_packed(
            rows, k, v, ends_q[1:], ends_k[1:], core, causal=BOTTOM_RIGHT if causal else 0, window=_window(window_size)
        )  # fmt: skip
    else:
        _refuse(dropout_p=dropout_p, window_size=_window(window_size))
        lengths = [end - begin for begin, end in itertools.pairwise(ends_k)]
        out = _attend_pages(rows, k, v, block_table, ends_q[1:], lengths, core.scale, causal)
    return out if len(rows) == len(q) else torch.cat((out, torch.zeros_like(q[len(rows) :])))


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
    block_table: torch.Tensor | None = None,
    **refused: Any,
) -> torch.Tensor:
    """One step of decoding: new keys and values are put behind those of the cache, and all of these are attended to.

    With block_table [b, most pages] the caches are [pages, rows of a page, g, d] and have the new ones already.
    """
    refused.pop("rotary_interleaved", None)
    refused.pop("num_splits", None)  # of the work, on a GPU
    _refuse(rotary_cos=rotary_cos, rotary_sin=rotary_sin, **refused)
    if block_table is not None:
        _refuse(k=k, v=v)
        return _decode_pages(
            q, k_cache, v_cache, block_table, cache_seqlens, softmax_scale, causal, window_size
        )
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


def _decode_pages(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    block_table: torch.Tensor,
    cache_seqlens: int | torch.Tensor | None,
    softmax_scale: float | None,
    causal: bool,
    window_size: Window,
) -> torch.Tensor:
    if cache_seqlens is None:
        raise ValueError(
            "flash_attn_with_kvcache: block_table asks for cache_seqlens, the length of each sequence"
        )
    _refuse(window_size=_window(window_size))
    batch, rows = q.shape[:2]
    lengths = [cache_seqlens] * batch if isinstance(cache_seqlens, int) else cache_seqlens.tolist()
    ends = [rows * (i + 1) for i in range(batch)]
    core = _core(q, softmax_scale, 0.0)
    out = _attend_pages(
        q.flatten(0, 1), k_cache, v_cache, block_table, ends, lengths[:batch], core.scale, causal
    )
    return out.view(q.shape)
