# SPDX-License-Identifier: Apache-2.0
"""Grouped products of 8-bit integers: not supported, and refused by name."""

from __future__ import annotations

from mindspeed.ops._refused import refused

_INSTEAD = "use npu_gmm of mindspeed.ops.gmm on unquantised tensors"
npu_quant_gmm = refused("npu_quant_gmm", _INSTEAD)
npu_quant_gmm_v2 = refused("npu_quant_gmm_v2", _INSTEAD)
