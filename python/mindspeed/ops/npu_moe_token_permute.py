# SPDX-License-Identifier: Apache-2.0
"""Tokens in the order of their experts (aclnnMoeTokenPermute, with gradient)."""

from __future__ import annotations

import torch
import torch_npu

__all__ = ["npu_moe_token_permute"]


def npu_moe_token_permute(
    tokens: torch.Tensor, indices: torch.Tensor, num_out_tokens: int | None = None, padded_mode: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """(tokens by expert, where each came to: what npu_moe_token_unpermute wants).

    tokens          [tokens, hidden]
    indices         int64 or int32 [tokens] or [tokens, k]: the experts of each token.
    num_out_tokens  keep so many; 0 or None: all.
    """
    result: tuple[torch.Tensor, torch.Tensor] = torch_npu.npu_moe_token_permute(
        tokens, indices, num_out_tokens, padded_mode
    )
    return result
