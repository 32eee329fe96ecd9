# SPDX-License-Identifier: Apache-2.0
"""Scaling, mask and softmax of attention scores are one operator, where flash attention is not used.

Megatron writes the scores as float32, scaled, masked and as probabilities before it rounds them; here they are read once
and the probabilities are rounded once. A causal mask is not read at all.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch_npu
from torch import Tensor

from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.flags import Flag
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch

_CLASS = "megatron.core.fusions.fused_softmax:FusedScaleMaskSoftmax"
_HIDDEN = -10000.0  # what Megatron's attention writes where a key is hidden, and the operator


@functools.lru_cache(maxsize=8)
def hides_as_the_operator_does(mask_func: Callable[..., Tensor]) -> bool:
    """Asked once per function, of one score: models may bring their own."""
    score, mask = torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1, dtype=torch.bool)
    return bool(mask_func(score, mask).item() == _HIDDEN)


@functools.lru_cache(maxsize=8)
def nothing_hidden(queries: int, keys: int, device: torch.device) -> Tensor:
    """The operator wants a mask, also where it makes the causal one itself and reads none."""
    return torch.zeros(1, 1, queries, keys, dtype=torch.bool, device=device)


def is_expressible(self: Any, scores: Tensor, mask: Tensor | None, softmax_offset: Tensor | None) -> bool:
    """Windows, an offset and masks that are not of truth values take Megatron's way."""
    if not self.scaled_masked_softmax_fusion or softmax_offset is not None:
        return False
    if getattr(self, "window_size", None) is not None:
        return False
    if scores.device.type != "npu" or scores.dtype is torch.float64:
        return False
    if mask is None:
        return True
    return mask.dtype is torch.bool and mask.dim() == 4 and hides_as_the_operator_does(self.mask_func)


def softmax(self: Any, scores: Tensor, mask: Tensor | None) -> Tensor:
    """scores [b, n, sq, sk]; without a mask the layer's type says whether it is causal."""
    scale = 1.0 if self.scale is None else float(self.scale)
    queries, keys = scores.shape[-2:]
    causal = mask is None and queries > 1 and self.attn_mask_type.name == "causal"
    assert queries == keys or not causal, "causal mask is only for self attention"
    if mask is None:
        mask = nothing_hidden(queries, keys, scores.device)
    result: Tensor = torch_npu.npu_scaled_masked_softmax(scores, mask, scale, causal)
    return result


def fused(written_out: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def forward(
        self: Any, input: Tensor, mask: Tensor | None, softmax_offset: Tensor | None = None, **more: Any
    ) -> Tensor:
        if more or not is_expressible(self, input, mask, softmax_offset):
            more |= {} if softmax_offset is None else {"softmax_offset": softmax_offset}
            return written_out(self, input, mask, **more)
        return softmax(self, input, mask)

    return forward


FEATURE = Feature(
    name="fused-softmax",
    level=Level.AFFINITY,
    flags=(
        Flag(
            "--use-fused-softmax",
            "Scaling, mask and softmax of attention scores by one operator.",
            negative="--no-fused-softmax",
        ),
    ),
    patches=(Patch(f"{_CLASS}.forward", fused, wraps=True),),
)
