# SPDX-License-Identifier: Apache-2.0
"""LayerNorm: (x - mean) / sqrt(variance + eps) * weight + bias."""

from __future__ import annotations

from typing import Any

import torch

from mindspeed.ops.norms import layer_norm
from mindspeed.standins.refusal import missing_attribute

from ._norm_module import Norm

__getattr__ = missing_attribute(__name__)


class LayerNorm(Norm):
    """Parameters `weight` and `bias`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "has_bias": True})

    def forward(self, inp: torch.Tensor) -> torch.Tensor:
        return self.rounded(layer_norm(inp, self.weight, self.bias, self.eps, self.zero_centered_gamma))
