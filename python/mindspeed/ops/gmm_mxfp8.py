# SPDX-License-Identifier: Apache-2.0
"""Grouped products in MXFP8: not supported, and refused by name."""

from __future__ import annotations

from mindspeed.ops._refused import refused

_INSTEAD = "use npu_gmm of mindspeed.ops.gmm on unquantised tensors"
npu_quant_group_gemm = refused("npu_quant_group_gemm", _INSTEAD)
