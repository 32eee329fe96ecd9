# SPDX-License-Identifier: Apache-2.0
"""gmm(a, b, sizes): rows of a in groups, each with its own matrix."""

from __future__ import annotations

import torch

from mindspeed.standins.refusal import missing_attribute

__getattr__ = missing_attribute(__name__)


def gmm(a: torch.Tensor, b: torch.Tensor, batch_sizes: torch.Tensor, trans_b: bool = False) -> torch.Tensor:
    """a [n, k], b [groups, k, m] (transposed: [groups, m, k]) -> [n, m]"""
    if b.shape[0] != batch_sizes.numel():
        raise ValueError(f"gmm: b has {b.shape[0]} matrices, batch_sizes {batch_sizes.numel()} groups")
    parts = torch.split(a, batch_sizes.tolist())
    matrices = b.transpose(1, 2) if trans_b else b
    return torch.cat([torch.matmul(part, matrix) for part, matrix in zip(parts, matrices, strict=True)])
