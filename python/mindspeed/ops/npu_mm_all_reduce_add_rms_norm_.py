# SPDX-License-Identifier: Apache-2.0
"""A product, a sum over ranks and a norm in place, for inference: not supported, and refused by name."""

from __future__ import annotations

from mindspeed.ops._refused import refused

_INSTEAD = "call torch.matmul, torch.distributed.all_reduce and torch_npu.npu_rms_norm"
npu_mm_all_reduce_add_rms_norm_ = refused("npu_mm_all_reduce_add_rms_norm_", _INSTEAD)
