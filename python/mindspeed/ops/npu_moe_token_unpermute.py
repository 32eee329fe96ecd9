# SPDX-License-Identifier: Apache-2.0
"""Tokens back in their own order, weighted sums over their experts (aclnnMoeTokenUnpermute, with gradient)."""

from __future__ import annotations

import torch
import torch_npu

__all__ = ["npu_moe_token_unpermute"]


def npu_moe_token_unpermute(
    permuted_tokens: torch.Tensor,
    sorted_indices: torch.Tensor,
    probs: torch.Tensor | None = None,
    padded_mode: bool = False,
    restore_shape: torch.Size | None = None,
) -> torch.Tensor:
    """[tokens, hidden]

    permuted_tokens, sorted_indices  from npu_moe_token_permute.
    probs                            [tokens, k]: the weight of each expert; None: the one expert's is 1.
    """
    result: torch.Tensor = torch_npu.npu_moe_token_unpermute(
        permuted_tokens, sorted_indices, probs, padded_mode, restore_shape
    )
    return result
