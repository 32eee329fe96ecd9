# SPDX-License-Identifier: Apache-2.0
"""RMSNorm: x / sqrt(mean(x^2) + eps) * weight."""

from __future__ import annotations

import torch

from mindspeed.ops.norms import rms_norm
from mindspeed.standins.refusal import missing_attribute

from ._norm_module import Norm

__getattr__ = missing_attribute(__name__)


class RMSNorm(Norm):
    """Parameter `weight`."""

    def forward(self, inp: torch.Tensor) -> torch.Tensor:
        return self.rounded(rms_norm(inp, self.weight, self.eps, self.zero_centered_gamma))
