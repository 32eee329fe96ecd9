# SPDX-License-Identifier: Apache-2.0
"""A product added to an accumulator in place: gradients of weights over micro-batches."""

from __future__ import annotations

import torch

__all__ = ["npu_matmul_add_fp16", "npu_matmul_add_fp32"]


def npu_matmul_add_fp32(total_input: torch.Tensor, grad_output: torch.Tensor, grad: torch.Tensor) -> None:
    """grad += grad_output^T total_input as one operator, whose sums are float32 and lose nothing.

    total_input [n, in] and grad_output [n, out] of one type, grad float32 [out, in]; nothing is done if one is empty.
    """
    if grad.dtype is not torch.float32:
        raise TypeError(f"npu_matmul_add_fp32: grad is {grad.dtype}, wanted torch.float32")
    _add(total_input, grad_output, grad)


def npu_matmul_add_fp16(total_input: torch.Tensor, grad_output: torch.Tensor, grad: torch.Tensor) -> None:
    """The same into an accumulator of the operands' type: summed in float32, rounded once."""
    _add(total_input, grad_output, grad)


def _add(total_input: torch.Tensor, grad_output: torch.Tensor, grad: torch.Tensor) -> None:
    if total_input.numel() and grad_output.numel():
        grad.addmm_(grad_output.t(), total_input)
