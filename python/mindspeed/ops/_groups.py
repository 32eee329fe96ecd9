# SPDX-License-Identifier: Apache-2.0
"""Products of groups of rows, without gradients (aclnnGroupedMatmul)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch_npu

CUMULATIVE, COUNTS = 0, 1  # what a group list holds
ROWS, SHARED_DIMENSION = 0, 2  # which dimension is in groups
_ONE_RESULT = 3


def product(
    x: torch.Tensor,
    weights: Sequence[torch.Tensor],
    bias: torch.Tensor | None,
    groups: torch.Tensor,
    kind: int,
    group_type: int,
) -> torch.Tensor:
    """`weights` are a matrix per group, or one tensor of all; whatever lies transposed is read as it lies."""
    result: torch.Tensor = torch_npu.npu_grouped_matmul(
        [x], list(weights), bias=None if bias is None else [bias], group_list=groups, split_item=_ONE_RESULT,
        group_type=group_type, group_list_type=kind,
    )[0]  # fmt: skip
    return result
