# SPDX-License-Identifier: Apache-2.0
"""Products that overlap with an exchange: not supported, and refused by name."""

from __future__ import annotations

from mindspeed.ops._refused import refused

_INSTEAD = "call the collectives of torch.distributed and torch.bmm"
npu_alltoall_allgather_bmm = refused("npu_alltoall_allgather_bmm", _INSTEAD)
