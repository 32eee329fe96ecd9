# SPDX-License-Identifier: Apache-2.0
"""Attention by the second version of the operator, which also makes position biases itself (ALiBi)."""

from __future__ import annotations

from typing import Any

import torch
import torch_npu

__all__ = ["npu_fusion_attention", "npu_fusion_attention_grad"]
_ALL = 2147483647


def npu_fusion_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    head_num: int,
    input_layout: str,
    *,
    pse: torch.Tensor | None = None,
    padding_mask: torch.Tensor | None = None,
    atten_mask: torch.Tensor | None = None,
    scale: float = 1.0,
    keep_prob: float = 1.0,
    pre_tokens: int = _ALL,
    next_tokens: int = _ALL,
    inner_precise: int = 0,
    prefix: list[int] | None = None,
    actual_seq_qlen: list[int] | None = None,
    actual_seq_kvlen: list[int] | None = None,
    sparse_mode: int = 0,
    gen_mask_parallel: bool = True,
    sync: bool = False,
    pse_type: int = 1,
    q_start_idx: list[int] | None = None,
    kv_start_idx: list[int] | None = None,
) -> Any:
    """softmax(scale q k^T + bias, masked) v, with gradients.

    Gives (attention, maximum, sum, an empty tensor, seed, offset, number of dropout bits).
    query         by layout: BSH, SBH, BSND, BNSD or TND; float32, bfloat16 or float16.
    key, value    the same; fewer heads are shared by groups of query heads.
    atten_mask    bool or uint8, not 0 where a key is hidden: [s, t], [b or 1, n or 1, s, t].
    sparse_mode   0: the mask; 1: no mask; 2, 3: causal from the upper left, lower right; 4: a band of tokens; 5, 6: with
                  prefix; 7, 8: parts of packed sequences. 2 to 8 take a mask [2048, 2048] that says the same.
    pse_type      0: bias after the scale; 1: before it; 2, 3: made from slopes [n] that are pse.
    *_start_idx   where positions begin, for pse_type 2 and 3.
    """
    return torch_npu.npu_fusion_attention_v2(
        query, key, value, head_num, input_layout, pse=pse, padding_mask=padding_mask, atten_mask=atten_mask,
        scale=scale, keep_prob=keep_prob, pre_tokens=pre_tokens, next_tokens=next_tokens, inner_precise=inner_precise,
        prefix=prefix, actual_seq_qlen=actual_seq_qlen, actual_seq_kvlen=actual_seq_kvlen, sparse_mode=sparse_mode,
        gen_mask_parallel=gen_mask_parallel, sync=sync, pse_type=pse_type, q_start_idx=q_start_idx,
        kv_start_idx=kv_start_idx,
    )  # fmt: skip


def npu_fusion_attention_grad(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    grad_outputs: torch.Tensor,
    head_num: int,
    input_layout: str,
    *,
    pse: torch.Tensor | None = None,
    padding_mask: torch.Tensor | None = None,
    atten_mask: torch.Tensor | None = None,
    softmax_max: torch.Tensor | None = None,
    softmax_sum: torch.Tensor | None = None,
    softmax_in: torch.Tensor | None = None,
    attention_in: torch.Tensor | None = None,
    scale: float = 1.0,
    keep_prob: float = 1.0,
    pre_tokens: int = _ALL,
    next_tokens: int = _ALL,
    inner_precise: int = 0,
    seed: int = 1234,
    offset: int = 0,
    numels: int = 0,
    prefix: list[int] | None = None,
    actual_seq_qlen: list[int] | None = None,
    actual_seq_kvlen: list[int] | None = None,
    sparse_mode: int = 0,
    gen_mask_parallel: bool = True,
    sync: bool = False,
    pse_type: int = 1,
    q_start_idx: list[int] | None = None,
    kv_start_idx: list[int] | None = None,
) -> Any:
    """(dq, dk, dv, dpse, ...) from what npu_fusion_attention gave: its results are softmax_max, softmax_sum,
    attention_in, seed, offset and numels."""
    return torch_npu.npu_fusion_attention_grad_v2(
        query, key, value, grad_outputs, head_num, input_layout, pse=pse, padding_mask=padding_mask,
        atten_mask=atten_mask, softmax_max=softmax_max, softmax_sum=softmax_sum, softmax_in=softmax_in,
        attention_in=attention_in, scale_value=scale, keep_prob=keep_prob, pre_tokens=pre_tokens,
        next_tokens=next_tokens, inner_precise=inner_precise, seed=seed, offset=offset, numels=numels, prefix=prefix,
        actual_seq_qlen=actual_seq_qlen, actual_seq_kvlen=actual_seq_kvlen, sparse_mode=sparse_mode,
        gen_mask_parallel=gen_mask_parallel, sync=sync, pse_type=pse_type, q_start_idx=q_start_idx,
        kv_start_idx=kv_start_idx,
    )  # fmt: skip
