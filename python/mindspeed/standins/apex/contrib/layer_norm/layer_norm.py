# SPDX-License-Identifier: Apache-2.0
"""The persistent layer norm, which computes what the other one computes."""

from __future__ import annotations

from typing import Any

import torch

from mindspeed.standins.refusal import missing_attribute

from ...normalization.fused_layer_norm import FusedLayerNorm, fused_layer_norm_affine

__getattr__ = missing_attribute(__name__)


class FastLayerNormFN:
    """What Megatron calls; it reads the arguments' names from `forward`."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        gamma: torch.Tensor,
        beta: torch.Tensor,
        epsilon: float,
        memory_efficient: bool = False,
    ) -> torch.Tensor:
        return fused_layer_norm_affine(x, gamma, beta, tuple(gamma.shape), epsilon)

    @classmethod
    def apply(cls, *args: Any) -> torch.Tensor:
        """The operator has a gradient, so there is nothing to keep."""
        return cls.forward(None, *args)


class FastLayerNorm(FusedLayerNorm):
    """Parameters `weight` and `bias`."""

    def __init__(self, hidden_size: int, eps: float = 1e-5, memory_efficient: bool = False) -> None:
        super().__init__(hidden_size, eps, memory_efficient=memory_efficient)
