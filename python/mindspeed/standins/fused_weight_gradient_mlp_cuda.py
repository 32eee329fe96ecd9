# SPDX-License-Identifier: Apache-2.0
"""MindSpeed's stand-in for Apex's extension that adds a weight's gradient to an accumulator."""

from __future__ import annotations

import torch

from mindspeed.ops.npu_matmul_add import npu_matmul_add_fp16, npu_matmul_add_fp32
from mindspeed.standins.refusal import missing_attribute

__getattr__ = missing_attribute(__name__)


def wgrad_gemm_accum_fp32(inp: torch.Tensor, d_output: torch.Tensor, d_weight: torch.Tensor) -> None:
    """d_weight += d_output^T inp, over all leading dimensions, into a float32 accumulator."""
    npu_matmul_add_fp32(_rows(inp), _rows(d_output), d_weight)


def wgrad_gemm_accum_fp16(inp: torch.Tensor, d_output: torch.Tensor, d_weight: torch.Tensor) -> None:
    """The same into an accumulator of the operands' type."""
    npu_matmul_add_fp16(_rows(inp), _rows(d_output), d_weight)


def _rows(x: torch.Tensor) -> torch.Tensor:
    return x.reshape(-1, x.shape[-1])
