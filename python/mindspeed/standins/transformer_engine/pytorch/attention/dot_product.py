# SPDX-License-Identifier: Apache-2.0
"""DotProductAttention: which mask, which layout, which ranks; the computing is in _core and _context."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable
from typing import Any

import torch

from mindspeed.ops.attention import BOTTOM_RIGHT, TOP_LEFT, Core, attend, attend_packed, window_mask
from mindspeed.standins.refusal import RefusedError, missing_attribute

from ..constants import AttnMaskTypes
from ..module.base import TransformerEngineBaseModule, group_size
from ..utils import divide
from ._context import attend_packed_parts, attend_parts, place_in

__getattr__ = missing_attribute(__name__)

FORMATS = ("sbhd", "bshd", "thd")


class DotProductAttention(TransformerEngineBaseModule):
    """Without parameters. It has no extra state, as Megatron's own attention has none: checkpoints fit both."""

    get_extra_state = torch.nn.Module.get_extra_state
    set_extra_state = torch.nn.Module.set_extra_state

    def __init__(
        self,
        num_attention_heads: int,
        kv_channels: int | tuple[int, int],
        num_gqa_groups: int | None = None,
        attention_dropout: float = 0.0,
        qkv_format: str = "sbhd",
        attn_mask_type: str = "causal",
        window_size: tuple[int, int] | None = None,
        sequence_parallel: bool = False,
        tp_size: int = 1,
        get_rng_state_tracker: Callable[[], Any] | None = None,
        tp_group: Any = None,
        layer_number: int | None = None,
        attention_type: str = "self",
        cp_group: Any = None,
        cp_global_ranks: list[int] | None = None,
        cp_stream: Any = None,
        cp_comm_type: str = "p2p",
        softmax_scale: float | None = None,
        softmax_type: str = "vanilla",
        return_max_logit: bool = False,
    ) -> None:
        super().__init__()
        if softmax_type != "vanilla":
            raise RefusedError(f"DotProductAttention(softmax_type={softmax_type!r})")
        if return_max_logit:
            raise RefusedError("DotProductAttention(return_max_logit=True)", "Leave out --qk-clip")
        if window_size is not None and not (isinstance(window_size, (tuple, list)) and len(window_size) == 2):
            raise TypeError(
                f"window_size={window_size!r}: wanted (keys before, keys behind), -1 for no limit"
            )
        self.set_up_parallel(tp_group, tp_size, sequence_parallel)
        self.qkv_format = qkv_format
        self.attn_mask_type = attn_mask_type
        self._window = window_size  # None: what the mask type of each call says
        self.window_size = window_size or ((-1, 0) if "causal" in attn_mask_type else (-1, -1))
        self.get_rng_state_tracker = get_rng_state_tracker
        self.layer_number = layer_number
        self.attention_type = attention_type
        self.attention_dropout = attention_dropout
        self.num_attention_heads = num_attention_heads
        self.num_gqa_groups = num_attention_heads if num_gqa_groups is None else num_gqa_groups
        self.num_gqa_groups_per_partition = divide(self.num_gqa_groups, self.tp_size)
        self.hidden_size_per_attention_head_k, self.hidden_size_per_attention_head_v = (
            (kv_channels, kv_channels) if isinstance(kv_channels, int) else kv_channels
        )
        self.softmax_scale = softmax_scale
        self.set_context_parallel_group(cp_group, cp_global_ranks, cp_stream, cp_comm_type)

    def set_context_parallel_group(
        self, cp_group: Any, cp_global_ranks: list[int] | None, cp_stream: Any, cp_comm_type: str = "p2p"
    ) -> None:
        """One group, or one for each level of a2a+p2p."""
        self.cp_group = cp_group
        self.cp_global_ranks = cp_global_ranks
        self.cp_stream = cp_stream
        self.cp_comm_type = cp_comm_type

    def _groups(self) -> list[Any]:
        groups = self.cp_group if isinstance(self.cp_group, (list, tuple)) else [self.cp_group]
        return [group for group in groups if group_size(group) > 1]

    def _random_numbers(self) -> Any:
        # Only dropout draws; forking moves states that code may compare.
        return contextlib.nullcontext() if self._dropout() == 0 else super()._random_numbers()

    def _dropout(self) -> float:
        return self.attention_dropout if self.training else 0.0

    def forward(
        self,
        query_layer: torch.Tensor,
        key_layer: torch.Tensor,
        value_layer: torch.Tensor,
        attention_mask: Any = None,
        qkv_format: str | None = None,
        cu_seqlens_q: torch.Tensor | None = None,
        cu_seqlens_kv: torch.Tensor | None = None,
        cu_seqlens_q_padded: torch.Tensor | None = None,
        cu_seqlens_kv_padded: torch.Tensor | None = None,
        max_seqlen_q: int | None = None,
        max_seqlen_kv: int | None = None,
        attn_mask_type: str | None = None,
        window_size: tuple[int, int] | None = None,
        checkpoint_core_attention: bool = False,
        core_attention_bias_type: str = "no_bias",
        core_attention_bias: torch.Tensor | None = None,
        alibi_slopes: torch.Tensor | None = None,
        fast_zero_fill: bool = True,
        inference_params: Any = None,
        pad_between_seqs: bool | None = None,
        **packed: Any,
    ) -> torch.Tensor:
        """[s,b,h*d], [b,s,h*d] or [t,h*d], as the queries come."""
        kind = attn_mask_type or self.attn_mask_type
        kind = kind.replace(",", "_").replace("causal_padding", "padding_causal")
        if kind not in AttnMaskTypes:
            raise ValueError(f"attn_mask_type={kind!r}: wanted one of {AttnMaskTypes}")
        if core_attention_bias_type not in ("no_bias", "post_scale_bias"):
            raise RefusedError(
                f"DotProductAttention with core_attention_bias_type={core_attention_bias_type!r}"
            )
        if inference_params is not None:
            raise RefusedError(
                "DotProductAttention with inference_params", "Pass keys and values of the past"
            )
        form = qkv_format or self.qkv_format
        window = _limits(window_size or self._window, kind)
        core = Core(scale=self._scale(key_layer), dropout=self._dropout())
        q, k, v = query_layer, key_layer, value_layer
        with self._random_numbers():
            if form == "thd":
                lengths = (cu_seqlens_q, cu_seqlens_kv, cu_seqlens_q_padded, cu_seqlens_kv_padded)
                return self._packed(q, k, v, lengths, core, kind, window)
            if form not in FORMATS:
                raise ValueError(f"qkv_format={form!r}: wanted one of {FORMATS}")
            return self._padded(q, k, v, form, attention_mask, core, kind, window, core_attention_bias)

    def _scale(self, key: torch.Tensor) -> float:
        return 1.0 / math.sqrt(key.shape[-1]) if self.softmax_scale is None else self.softmax_scale

    def _padded(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        form: str,
        attention_mask: Any,
        core: Core,
        kind: str,
        window: tuple[int, int] | None,
        bias: torch.Tensor | None,
    ) -> torch.Tensor:
        if form == "sbhd":
            q, k, v = (x.transpose(0, 1) for x in (q, k, v))
        causal = 0 if "causal" not in kind else BOTTOM_RIGHT if "bottom_right" in kind else TOP_LEFT
        mask = (
            _keys_mask(attention_mask)
            if "padding" in kind
            else attention_mask
            if kind == "arbitrary"
            else None
        )
        groups = self._groups()
        keys = k.shape[1] * place_in(groups)[1]
        mask = _as_scores(mask, (q.shape[0], q.shape[2], q.shape[1], keys))
        if groups:
            if bias is not None or "padding" in kind:
                raise RefusedError(f"context parallelism with mask {kind!r} or a bias, in format {form}")
            out = attend_parts(q, k, v, core, groups, causal=bool(causal), mask=mask, window=window)
        else:
            if window is not None:
                near = window_mask(q.shape[1], k.shape[1], window, q.device)
                mask = near if mask is None else mask | near
            out = attend(q, k, v, core, mask=mask, causal=causal, bias=bias)
        out = out.flatten(2)
        return out.transpose(0, 1).contiguous() if form == "sbhd" else out

    def _packed(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        lengths: tuple[torch.Tensor | None, ...],
        core: Core,
        kind: str,
        window: tuple[int, int] | None,
    ) -> torch.Tensor:
        ends: list[Any] = [None if x is None else x.tolist() for x in lengths]
        ends_q, ends_k, room_q, room_k = ends
        if ends_q is None or ends_k is None:
            raise ValueError("DotProductAttention: qkv_format='thd' needs cu_seqlens_q and cu_seqlens_kv")
        causal = 0 if "causal" not in kind else BOTTOM_RIGHT if "bottom_right" in kind else TOP_LEFT
        groups = self._groups()
        if groups:
            # Padding at the end of a sequence is behind what causal queries see; what it computes is not read.
            _, size = place_in(groups)
            whole = [room_q or ends_q, room_k or ends_k]
            if any((b - a) % (2 * size) for x in whole for a, b in itertools.pairwise(x)):
                raise ValueError(
                    f"packed lengths must be multiples of {2 * size} with {size} context-parallel ranks"
                )
            if not causal and whole != [ends_q, ends_k]:
                raise RefusedError(
                    "context parallelism with padding between sequences and without a causal mask"
                )
            return attend_packed_parts(
                q, k, v, whole[0][1:], whole[1][1:], core, groups, causal=bool(causal), window=window
            ).flatten(1)
        rows_q, rows_k = (_rows(e, r, x) for e, r, x in ((ends_q, room_q, q), (ends_k, room_k, k)))
        if rows_k is not None:
            k, v = k.index_select(0, rows_k), v.index_select(0, rows_k)
        used = q if rows_q is None else q.index_select(0, rows_q)
        out = attend_packed(used, k, v, ends_q[1:], ends_k[1:], core, causal=causal, window=window)
        if rows_q is not None:
            out = out.new_zeros((q.shape[0], *out.shape[1:])).index_copy(0, rows_q, out)
        return out.flatten(1)


def _limits(window: tuple[int, int] | None, kind: str) -> tuple[int, int] | None:
    """None where the mask type says as much."""
    if window is None or tuple(window) == (-1, -1) or ("causal" in kind and tuple(window) == (-1, 0)):
        return None
    return (window[0], window[1])


def _keys_mask(mask: Any) -> torch.Tensor | None:
    """A padding mask is [b,1,1,s] of both, or one for queries and one for keys; what padded queries see does not matter."""
    if isinstance(mask, (tuple, list)):
        return mask[1]
    return mask


def _as_scores(mask: torch.Tensor | None, scores: tuple[int, int, int, int]) -> torch.Tensor | None:
    """The mask in four dimensions: it broadcasts to the scores, whose dimensions are compared from the last one on."""
    if mask is None:
        return None
    shape = (1,) * (4 - mask.dim()) + tuple(mask.shape)
    if len(shape) != 4 or any(found not in (1, wanted) for found, wanted in zip(shape, scores, strict=True)):
        raise ValueError(
            f"attention_mask is {list(mask.shape)}: wanted one that broadcasts to [batch, heads, queries, keys] = "
            f"{list(scores)}"
        )
    return mask.reshape(shape)


def _rows(ends: list[int], room: list[int] | None, x: torch.Tensor) -> torch.Tensor | None:
    """The rows that are tokens, None if all are."""
    starts = (room or ends)[:-1]
    if starts == ends[:-1] and ends[-1] == x.shape[0]:
        return None
    sizes = [b - a for a, b in itertools.pairwise(ends)]
    rows = [torch.arange(start, start + size) for start, size in zip(starts, sizes, strict=True)]
    return torch.cat(rows).to(x.device)
