# SPDX-License-Identifier: Apache-2.0
"""The attention mask that all layers share."""

from __future__ import annotations

from typing import Any

import torch

from mindspeed import absent
from mindspeed.args_utils import get_full_args

__all__ = ["get_attention_mask", "set_attention_mask"]

# Fused attention knows from a mask of this size, with sparse mode 2, that every mask is causal.
COMPRESSED = 2048
_mask: Any = None


def set_attention_mask(attn_mask: Any) -> None:
    """The mask of the batch in work; None: the causal one."""
    global _mask
    _mask = attn_mask


def get_attention_mask() -> Any:
    """What was set, else the causal mask in the compressed form of fused attention: True where a key is not seen.

    None for a general mask, which is the batch's own.
    """
    args = get_full_args()
    if _mask is None and getattr(args, "attention_mask_type", "causal") == "causal":
        device = "cpu" if getattr(args, "attention_mask_on_cpu", False) else "npu"
        ones = torch.ones((COMPRESSED, COMPRESSED), device=device, dtype=torch.bool)
        set_attention_mask(torch.triu(ones, diagonal=1))
    return _mask


__getattr__ = absent.attributes(
    __name__,
    dict.fromkeys(
        ("should_recompute_activation", "should_recompute_norm"),
        "recomputation is chosen by flags and decides by itself for each layer",
    ),
)
