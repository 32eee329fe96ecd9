# SPDX-License-Identifier: Apache-2.0
"""Products of groups of rows, each with a matrix of its own (aclnnGroupedMatmul), with gradients."""

from __future__ import annotations

from typing import Any

import torch

from mindspeed.ops import later
from mindspeed.ops._groups import COUNTS, CUMULATIVE, ROWS, SHARED_DIMENSION, product
from mindspeed.ops.npu_groupmatmul_add import npu_groupmatmul_add_fp32

__all__ = ["npu_gmm", "npu_gmm_v2"]


class GMMFunction(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        groups: torch.Tensor,
        kind: int,
        original: torch.Tensor | None,
    ) -> torch.Tensor:
        """`original` is the parameter whose main_grad takes the gradient of the weight."""
        ctx.save_for_backward(x, weight, groups)
        ctx.kind, ctx.original = kind, original
        ctx.weight = weight  # itself: under hooks for saved tensors autograd hands out another
        return product(x, [weight], bias, groups, kind, ROWS)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, groups = ctx.saved_tensors
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = product(grad, [weight.transpose(1, 2)], None, groups, ctx.kind, ROWS)
        if not ctx.needs_input_grad[1]:
            return of_x, None, None, None, None, None
        kind, original = ctx.kind, ctx.original
        of_weight = later.gradient_of(
            ctx.weight, lambda: weight_gradient(x, grad, weight, groups, kind, original)
        )
        return of_x, of_weight, None, None, None, None


def weight_gradient(
    x: torch.Tensor,
    grad: torch.Tensor,
    weight: torch.Tensor,
    groups: torch.Tensor,
    kind: int,
    original: torch.Tensor | None,
) -> torch.Tensor | None:
    """Of the product of x and weight, whose gradient is `grad`; it goes into original.main_grad if there is an original."""
    if original is None:
        return product(x.t(), [grad], None, groups, kind, SHARED_DIMENSION).view(weight.shape)
    ends = groups if kind == CUMULATIVE else torch.cumsum(groups, 0)
    npu_groupmatmul_add_fp32(x, grad, ends, original.main_grad)
    return _marked(original, weight)


def _marked(original: torch.Tensor, weight: torch.Tensor) -> torch.Tensor | None:
    """The gradient is in main_grad. Where a hook waits for one, the mark says that the values of this one count for nothing."""
    if not hasattr(original, "grad_added_to_main_grad"):
        return None
    original.grad_added_to_main_grad = True
    return (torch.zeros_like if getattr(original, "zero_out_wgrad", False) else torch.empty_like)(weight)


def _gmm(
    name: str,
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    group_list: list[int] | torch.Tensor | None,
    group_type: int,
    kind: int,
    original: torch.Tensor | None,
) -> torch.Tensor:
    if group_list is None:
        raise ValueError(f"{name}: group_list is None, wanted the rows of each group")
    if isinstance(group_list, torch.Tensor) and (
        group_list.dim() != 1 or group_list.dtype is not torch.int64
    ):
        raise TypeError(
            f"{name}: group_list is {group_list.dtype} with {group_list.dim()} dimensions, wanted int64 with one"
        )
    if bias is not None and bias.requires_grad:
        raise ValueError(f"{name}: bias needs a gradient, which there is none of")
    if group_type != ROWS and (x.requires_grad or weight.requires_grad):
        raise ValueError(f"{name}: group_type is {group_type}, and gradients are for 0 only")
    groups = torch.as_tensor(group_list, dtype=torch.int64, device=x.device)
    if group_type != ROWS:
        return product(x, [weight], bias, groups, kind, group_type)
    result: torch.Tensor = GMMFunction.apply(x, weight, bias, groups, kind, original)
    return result


def npu_gmm(
    x: torch.Tensor,
    weight: torch.Tensor,
    *,
    bias: torch.Tensor | None = None,
    group_list: list[int] | torch.Tensor | None = None,
    group_type: int = 0,
    gemm_fusion: bool = False,
    original_weight: torch.Tensor | None = None,
) -> torch.Tensor:
    """Rows of group i times matrix i.

    x            [n, in]; float32, bfloat16 or float16
    weight       [groups, in, out]
    group_list   where the groups end: cumulative, a list or int64 [groups].
    group_type   0: rows are in groups; 2: x [m, n] and weight [n, out], n is in groups, result [groups, m, out].
    gemm_fusion  the gradient of the weight is added to original_weight.main_grad.
    """
    original = original_weight if gemm_fusion else None
    return _gmm("npu_gmm", x, weight, bias, group_list, group_type, CUMULATIVE, original)


def npu_gmm_v2(
    x: torch.Tensor,
    weight: torch.Tensor,
    *,
    bias: torch.Tensor | None = None,
    group_list: torch.Tensor | None = None,
    group_type: int = 0,
    gemm_fusion: bool = False,
    original_weight: torch.Tensor | None = None,
) -> torch.Tensor:
    """As npu_gmm; group_list holds how many rows each group has."""
    original = original_weight if gemm_fusion else None
    return _gmm("npu_gmm_v2", x, weight, bias, group_list, group_type, COUNTS, original)
