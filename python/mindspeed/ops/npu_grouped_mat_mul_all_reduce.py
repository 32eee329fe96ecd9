# SPDX-License-Identifier: Apache-2.0
"""Grouped products with a sum over ranks: not supported, and refused by name."""

from __future__ import annotations

from mindspeed.ops._refused import refused

_INSTEAD = "call npu_gmm of mindspeed.ops.gmm and torch.distributed.all_reduce"
npu_grouped_mat_mul_all_reduce = refused("npu_grouped_mat_mul_all_reduce", _INSTEAD)
