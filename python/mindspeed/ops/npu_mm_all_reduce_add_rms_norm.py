# SPDX-License-Identifier: Apache-2.0
"""A product summed over ranks, a residual added, and an RMS norm of that: the end of a tensor-parallel layer at inference."""

from __future__ import annotations

import torch
import torch_npu

__all__ = ["npu_mm_all_reduce_add_rms_norm"]


def npu_mm_all_reduce_add_rms_norm(
    x1: torch.Tensor,
    x2: torch.Tensor,
    residual: torch.Tensor,
    gamma: torch.Tensor,
    hcom: str,
    reduce_op: str = "sum",
    epsilon: float = 1e-06,
    bias: torch.Tensor | None = None,
    antiquant_scale: torch.Tensor | None = None,
    antiquant_offset: torch.Tensor | None = None,
    dequant_scale: torch.Tensor | None = None,
    antiquant_group_size: int = 0,
    comm_turn: int = 0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(y, norm): y = all_reduce(x1 @ x2 + bias) + residual, norm = rms_norm(y) * gamma, both as the residual [b, s, n].

    x1 [b, s, k] or [b * s, k], x2 [k, n]; int8 with dequant_scale [n]. hcom names the communicator. Two operators of the
    device, one behind the other.
    """
    product = torch_npu.npu_mm_all_reduce_base(
        x1, x2, hcom, reduce_op=reduce_op, bias=bias, antiquant_scale=antiquant_scale,
        antiquant_offset=antiquant_offset, dequant_scale=dequant_scale, comm_turn=comm_turn,
        antiquant_group_size=antiquant_group_size,
    )  # fmt: skip
    if product.numel() != residual.numel():
        raise ValueError(
            f"npu_mm_all_reduce_add_rms_norm: residual is {tuple(residual.shape)}, the product {tuple(product.shape)}"
        )
    norm, _, y = torch_npu.npu_add_rms_norm(product.view(residual.shape), residual, gamma, epsilon)
    return y, norm
