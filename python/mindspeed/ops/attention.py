# SPDX-License-Identifier: Apache-2.0
"""softmax(scale q k^T + bias, mask) v as one operator, for padded and for packed sequences.

Masks are bool, True where a query may not see a key.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
import torch_npu

TOP_LEFT, BOTTOM_RIGHT = 2, 3  # where the diagonal of a causal mask begins, as sparse modes of the operator
_ADD_AFTER_SCALING = 0  # scale q k^T + bias; the operator's own default is scale (q k^T + bias)
_TRIANGLE = 2048  # what these modes want for a mask, whatever the lengths


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """What does not change from call to call."""

    scale: float
    dropout: float = 0.0


@functools.lru_cache(maxsize=4)
def triangle(device: torch.device) -> torch.Tensor:
    """The compressed causal mask."""
    return torch.ones(_TRIANGLE, _TRIANGLE, dtype=torch.bool, device=device).triu_(1)


def drops_in_graph(dropout: float) -> bool:
    """Whether dropout is to be captured in a graph, which the fused operators cannot: torch_npu takes their seed from the
    host, the same one in each run, and refuses that."""
    return dropout > 0 and torch.npu.is_current_stream_capturing()


def _mask_options(mask: torch.Tensor | None, causal: int, device: torch.device) -> dict[str, Any]:
    if causal:
        return {"atten_mask": triangle(device), "sparse_mode": causal}
    return {} if mask is None else {"atten_mask": mask, "sparse_mode": 0}


def attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    core: Core,
    *,
    mask: torch.Tensor | None = None,
    causal: int = 0,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """q [b,s,h,d], k and v [b,t,g,d] -> [b,s,h,dv]; g divides h; mask [1|b,1|h,s,t], bias [1|b,h,s,t]."""
    if causal and mask is not None:
        mask = mask | causal_mask(q.shape[1], k.shape[1], causal, q.device)
        causal = 0
    fused = q.device.type == "npu" and q.dtype in (torch.float32, torch.bfloat16, torch.float16)
    if not fused or drops_in_graph(core.dropout):
        return _written_out(q, k, v, core, mask, causal, bias)
    if mask is not None:
        mask = mask.expand(mask.shape[0], mask.shape[1], q.shape[1], k.shape[1]).contiguous()
    if bias is not None:
        bias = bias.to(q.dtype).expand(bias.shape[0], q.shape[2], q.shape[1], k.shape[1]).contiguous()
    out: torch.Tensor = torch_npu.npu_fusion_attention_v2(
        q.contiguous(), k.contiguous(), v.contiguous(), q.shape[2], "BSND",
        pse=bias, pse_type=_ADD_AFTER_SCALING, scale=core.scale, keep_prob=1.0 - core.dropout, **_mask_options(mask, causal, q.device),
    )[0]  # fmt: skip
    return out


def attend_packed(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    q_ends: list[int],
    k_ends: list[int],
    core: Core,
    *,
    causal: int = 0,
    window: tuple[int, int] | None = None,
) -> torch.Tensor:
    """q [t,h,d], k and v [u,g,d] of several sequences one behind the other; ends are cumulative lengths."""
    plain = window is None and q.device.type == "npu" and q.dtype is not torch.float64
    plain = plain and not drops_in_graph(core.dropout)
    if plain and q_ends and 0 not in (q_ends[-1], k_ends[-1]):
        out: torch.Tensor = torch_npu.npu_fusion_attention_v2(
            q.contiguous(), k.contiguous(), v.contiguous(), q.shape[1], "TND",
            scale=core.scale, keep_prob=1.0 - core.dropout, actual_seq_qlen=q_ends, actual_seq_kvlen=k_ends,
            **_mask_options(None, causal, q.device),
        )[0]  # fmt: skip
        return out
    outs, q_begin, k_begin = [], 0, 0
    for q_end, k_end in zip(q_ends, k_ends, strict=True):
        parts = q[None, q_begin:q_end], k[None, k_begin:k_end], v[None, k_begin:k_end]
        mask = None
        if window is not None:
            mask = window_mask(q_end - q_begin, k_end - k_begin, window, q.device)
        if q_end > q_begin:
            outs.append(attend(*parts, core, mask=mask, causal=causal)[0])
        q_begin, k_begin = q_end, k_end
    return torch.cat(outs) if outs else q.new_empty((0, q.shape[1], v.shape[2]))


def causal_mask(queries: int, keys: int, kind: int, device: torch.device) -> torch.Tensor:
    """[1,1,queries,keys]"""
    shift = keys - queries if kind == BOTTOM_RIGHT else 0
    return torch.ones(queries, keys, dtype=torch.bool, device=device).triu_(1 + shift)[None, None]


def window_mask(
    queries: int, keys: int, window: tuple[int, int], device: torch.device, first_query: int | None = None
) -> torch.Tensor:
    """Only keys from `left` before to `right` behind a query; -1 is no limit; the last query is at the last key."""
    left, right = window
    start = keys - queries if first_query is None else first_query
    places = torch.arange(start, start + queries, device=device)[:, None]
    distance = torch.arange(keys, device=device)[None, :] - places
    mask = torch.zeros(queries, keys, dtype=torch.bool, device=device)
    if left >= 0:
        mask |= distance < -left
    if right >= 0:
        mask |= distance > right
    return mask[None, None]


def _written_out(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    core: Core,
    mask: torch.Tensor | None,
    causal: int,
    bias: torch.Tensor | None,
) -> torch.Tensor:
    """Operator by operator, where the fused one does not reach: float64, tensors of the CPU, and dropout in a captured graph."""
    repeat = q.shape[2] // k.shape[2]
    q, k, v = (x.transpose(1, 2) for x in (q, k.repeat_interleave(repeat, 2), v.repeat_interleave(repeat, 2)))
    scores = torch.matmul(q, k.transpose(-1, -2)) * core.scale
    if bias is not None:
        scores = scores + bias
    if causal:
        mask = causal_mask(q.shape[2], k.shape[2], causal, q.device)
    if mask is not None:
        scores = scores.masked_fill(mask, torch.finfo(scores.dtype).min)
    weights = torch.nn.functional.dropout(scores.softmax(-1), core.dropout)
    return torch.matmul(weights, v).transpose(1, 2)
