# SPDX-License-Identifier: Apache-2.0
"""MindSpeed's stand-in for Apex's extension that adds a weight's gradient to an accumulator."""

from __future__ import annotations

import torch

from mindspeed.standins.refusal import missing_attribute

__getattr__ = missing_attribute(__name__)


def _accumulate(inp: torch.Tensor, d_output: torch.Tensor, d_weight: torch.Tensor) -> None:
    """d_weight += d_output^T inp, over all leading dimensions, in the precision of d_weight."""
    grad = d_output.reshape(-1, d_output.shape[-1]).to(d_weight.dtype)
    d_weight.addmm_(grad.t(), inp.reshape(-1, inp.shape[-1]).to(d_weight.dtype))


def wgrad_gemm_accum_fp32(inp: torch.Tensor, d_output: torch.Tensor, d_weight: torch.Tensor) -> None:
    """Into a float32 accumulator."""
    _accumulate(inp, d_output, d_weight)


def wgrad_gemm_accum_fp16(inp: torch.Tensor, d_output: torch.Tensor, d_weight: torch.Tensor) -> None:
    """Into an accumulator of the operands' type."""
    _accumulate(inp, d_output, d_weight)
