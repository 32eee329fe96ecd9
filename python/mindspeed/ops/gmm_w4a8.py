# SPDX-License-Identifier: Apache-2.0
"""Grouped products with weights of 4 bits: not supported, and refused by name."""

from __future__ import annotations

from mindspeed.ops._refused import refused

_INSTEAD = "use npu_gmm of mindspeed.ops.gmm on unquantised tensors"
npu_gmm = refused("npu_gmm", _INSTEAD)
