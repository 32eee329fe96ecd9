# SPDX-License-Identifier: Apache-2.0
"""gmm(a, b, sizes): rows of a in groups, each with its own matrix."""

from __future__ import annotations

import torch

from mindspeed.ops.gmm import npu_gmm_v2
from mindspeed.standins.refusal import missing_attribute

__getattr__ = missing_attribute(__name__)


def gmm(a: torch.Tensor, b: torch.Tensor, batch_sizes: torch.Tensor, trans_b: bool = False) -> torch.Tensor:
    """a [n, k], b [groups, k, m] (transposed: [groups, m, k]) -> [n, m]; the gradients are one operator each as well.

    Sizes on the host, as Megatron has them, are checked; of sizes on the device the operator checks that they fit.
    """
    if b.shape[0] != batch_sizes.numel():
        raise ValueError(f"gmm: b has {b.shape[0]} matrices, batch_sizes {batch_sizes.numel()} groups")
    if batch_sizes.device.type == "cpu" and int(batch_sizes.sum()) != a.shape[0]:
        raise ValueError(f"gmm: a has {a.shape[0]} rows, batch_sizes {int(batch_sizes.sum())}")
    sizes = batch_sizes.to(device=a.device, dtype=torch.int64)
    return npu_gmm_v2(a, b.transpose(1, 2) if trans_b else b, group_list=sizes)
