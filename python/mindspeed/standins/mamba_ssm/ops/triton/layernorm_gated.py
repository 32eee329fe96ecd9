# SPDX-License-Identifier: Apache-2.0
"""RMS norm of x times silu(z)."""

from __future__ import annotations

from typing import Any

import torch

from mindspeed.ops.norms import rms_norm
from mindspeed.ops.typed import typed
from mindspeed.standins.refusal import missing_attribute

__getattr__ = missing_attribute(__name__)


def gated_rms_norm(
    x: torch.Tensor,
    weight: torch.Tensor,
    z: torch.Tensor | None,
    eps: float,
    group_size: int | None,
    norm_before_gate: bool,
) -> torch.Tensor:
    """Over groups of the last dimension; the gate before or behind the norm."""
    gate = None if z is None else torch.nn.functional.silu(z)
    if gate is not None and not norm_before_gate:
        x = x * gate
    size = group_size or x.shape[-1]
    groups = x.unflatten(-1, (-1, size))
    normal = rms_norm(groups, torch.ones(size, dtype=x.dtype, device=x.device), eps, False).flatten(-2)
    y = normal * typed(weight, x.dtype)
    return y * gate if gate is not None and norm_before_gate else y


class RMSNorm(torch.nn.Module):
    """Parameter `weight`."""

    def __init__(
        self,
        hidden_size: int,
        eps: float = 1e-5,
        group_size: int | None = None,
        norm_before_gate: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.eps = eps
        self.weight = torch.nn.Parameter(torch.empty(hidden_size, device=device, dtype=dtype))
        self.register_parameter("bias", None)
        self.group_size = group_size
        self.norm_before_gate = norm_before_gate
        self.reset_parameters()

    def reset_parameters(self) -> None:
        torch.nn.init.ones_(self.weight)

    def forward(self, x: torch.Tensor, z: torch.Tensor | None = None) -> torch.Tensor:
        return gated_rms_norm(x, self.weight, z, self.eps, self.group_size, self.norm_before_gate)
