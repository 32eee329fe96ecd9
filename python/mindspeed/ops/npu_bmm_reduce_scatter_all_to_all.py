# SPDX-License-Identifier: Apache-2.0
"""Products that overlap with an exchange: not supported, and refused by name."""

from __future__ import annotations

from mindspeed.ops._refused import refused

_INSTEAD = "call torch.bmm and the collectives of torch.distributed"
npu_bmm_reducescatter_alltoall = refused("npu_bmm_reducescatter_alltoall", _INSTEAD)
