# SPDX-License-Identifier: Apache-2.0
"""Root mean square norm as one operator."""

from __future__ import annotations

from typing import Any

import torch
import torch_npu

__all__ = ["RMSNorm"]


class RMSNorm(torch.nn.RMSNorm):
    """One operator on an NPU; PyTorch's own norm on other devices, and when the config says use_fused_rmsnorm=False.

    With sequence_parallel Megatron sums the weight's gradient over the ranks that share the sequence.
    """

    def __init__(
        self, dim: int, eps: float = 1e-6, sequence_parallel: bool = False, config: Any = None
    ) -> None:
        super().__init__(dim, eps=eps)
        self.is_fused = getattr(config, "use_fused_rmsnorm", None) is not False
        self.weight.sequence_parallel = sequence_parallel

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.is_fused and x.device.type == "npu":
            return torch_npu.npu_rms_norm(x, self.weight, epsilon=self.eps)[0]
        return super().forward(x)
