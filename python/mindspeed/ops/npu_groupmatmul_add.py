# SPDX-License-Identifier: Apache-2.0
"""Products of groups of rows added to an accumulator in place (aclnnGroupedMatmulAdd)."""

from __future__ import annotations

import torch
import torch_npu

__all__ = ["npu_groupmatmul_add_fp32"]


def npu_groupmatmul_add_fp32(
    x: torch.Tensor, dy: torch.Tensor, grouplist: torch.Tensor, grad: torch.Tensor
) -> None:
    """grad[i] += x_i^T dy_i for the rows of group i.

    x [n, in] and dy [n, out], bfloat16 or float16; grouplist int64 [groups], cumulative; grad float32
    [groups * in, out] or [groups, in, out].
    """
    groups = grad.view(grouplist.shape[0], x.shape[-1], dy.shape[-1])
    torch_npu.npu_grouped_matmul_add_(groups, x, dy, grouplist.to(x.device))
