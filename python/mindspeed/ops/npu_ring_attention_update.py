# SPDX-License-Identifier: Apache-2.0
"""Two results of attention over different keys become one (aclnnRingAttentionUpdateV2)."""

from __future__ import annotations

import torch
import torch_npu

__all__ = ["npu_ring_attention_update"]


def npu_ring_attention_update(
    prev_attn_out: torch.Tensor,
    prev_softmax_max: torch.Tensor,
    prev_softmax_sum: torch.Tensor,
    cur_attn_out: torch.Tensor,
    cur_softmax_max: torch.Tensor,
    cur_softmax_sum: torch.Tensor,
    actual_seq_qlen: torch.Tensor | None = None,
    layout: str = "SBH",
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(attention, maximum, sum) over the keys of both.

    attn_out         layout SBH: [s, b, h * d], layout TND: [t, h, d]; float32, bfloat16 or float16.
    softmax_max/sum  float32, as attention gives them: SBH [b, h, s, 8], TND [t, h, 8].
    actual_seq_qlen  TND only: int64 [sequences + 1], cumulative and beginning with 0.
    """
    result: tuple[torch.Tensor, torch.Tensor, torch.Tensor] = torch_npu.npu_ring_attention_update(
        prev_attn_out, prev_softmax_max, prev_softmax_sum, cur_attn_out, cur_softmax_max, cur_softmax_sum,
        actual_seq_qlen=actual_seq_qlen, input_layout=layout,
    )  # fmt: skip
    return result
