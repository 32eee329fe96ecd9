# SPDX-License-Identifier: Apache-2.0
"""A feed-forward layer for inference, of all rows or of the rows of experts."""

from __future__ import annotations

import torch_npu
from torch import Tensor, dtype

__all__ = ["npu_ffn"]


def npu_ffn(
    x: Tensor,
    weight1: Tensor,
    weight2: Tensor,
    activation: str,
    *,
    expert_tokens: Tensor | None = None,
    expert_tokens_index: Tensor | None = None,
    bias1: Tensor | None = None,
    bias2: Tensor | None = None,
    scale: Tensor | None = None,
    offset: Tensor | None = None,
    deq_scale1: Tensor | None = None,
    deq_scale2: Tensor | None = None,
    antiquant_scale1: Tensor | None = None,
    antiquant_scale2: Tensor | None = None,
    antiquant_offset1: Tensor | None = None,
    antiquant_offset2: Tensor | None = None,
    inner_precise: int | None = None,
    output_dtype: dtype | None = None,
) -> Tensor:
    """`torch_npu.npu_ffn` with rows of experts as a tensor: their numbers, or their ends.

    The tensor is read on the host, so the call waits for what computes it.
    """
    return torch_npu.npu_ffn(
        x, weight1, weight2, activation,
        expert_tokens=None if expert_tokens is None else expert_tokens.tolist(),
        expert_tokens_index=None if expert_tokens_index is None else expert_tokens_index.tolist(),
        bias1=bias1, bias2=bias2, scale=scale, offset=offset, deq_scale1=deq_scale1, deq_scale2=deq_scale2,
        antiquant_scale1=antiquant_scale1, antiquant_scale2=antiquant_scale2,
        antiquant_offset1=antiquant_offset1, antiquant_offset2=antiquant_offset2,
        inner_precise=inner_precise, output_dtype=output_dtype,
    )  # fmt: skip
