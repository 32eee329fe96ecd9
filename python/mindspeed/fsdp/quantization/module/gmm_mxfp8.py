# SPDX-License-Identifier: Apache-2.0
"""Products of experts with factors in MX fp8: rows of each expert with its matrix, all in one operator.

Each factor is quantised along what its product sums over: for the gradient of a matrix that is its expert's rows.
"""

from __future__ import annotations

from typing import Any

import torch
import torch_npu
from torch import Tensor

from mindspeed.fsdp.quantization.module.linear_mxfp8 import Pairs, process_quant_result_fn, quantisable
from mindspeed.ops._groups import CUMULATIVE, ROWS, SHARED_DIMENSION

__all__ = ["gmm_with_hp_or_lp_weight", "mx_quant_group_gemm"]

_ONE_RESULT = 3
_BLOCK = 32


def _product(
    left: tuple[Tensor, Tensor], right: tuple[Tensor, Tensor], ends: Tensor, kind: int, dtype: torch.dtype
) -> Tensor:
    exponents = torch_npu.float8_e8m0fnu
    found: Tensor = torch_npu.npu_grouped_matmul(
        [left[0]], [right[0]], scale=[right[1]], per_token_scale=[left[1]], group_list=ends, group_type=kind,
        group_list_type=CUMULATIVE, split_item=_ONE_RESULT, scale_dtype=exponents, per_token_scale_dtype=exponents,
        output_dtype=torch.bfloat16 if dtype is torch.float32 else dtype,
    )[0]  # fmt: skip
    return found.to(dtype)


def _by_rows_of_groups(x: Tensor, ends: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    found: tuple[Tensor, Tensor] = torch_npu.npu_grouped_dynamic_mx_quant(
        x, ends.to(torch.int32), round_mode="rint", dst_type=dtype, blocksize=_BLOCK
    )
    return found


class gmm_with_hp_or_lp_weight(torch.autograd.Function):
    """x [rows, in], weight [experts, in, out], the last row of each expert -> [rows, out]"""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, ends: Tensor, config: Any, grad_enabled: bool) -> Tensor:
        dtype = config.get_key_dtype("weight")
        flat = quantisable(x)
        # Along out, which the gradient of x sums over, and along in.
        found: Pairs = process_quant_result_fn(quantisable(weight.contiguous()), dtype, config)
        along_out, along_in = found[:2], found[2:]
        ctx.config, ctx.dtypes = config, (x.dtype, weight.dtype)
        if grad_enabled:
            ctx.save_for_backward(flat, ends, *along_out)
        left = torch_npu.npu_dynamic_mx_quant(flat, axis=-1, dst_type=config.get_key_dtype("inputs"))
        return _product(left, along_in, ends, ROWS, x.dtype)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        x, ends, numbers, scales = ctx.saved_tensors
        grad, dtype = quantisable(grad_output.contiguous()), ctx.config.get_key_dtype("grads")
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            left = torch_npu.npu_dynamic_mx_quant(grad, axis=-1, dst_type=dtype)
            turned = numbers.transpose(1, 2), scales.transpose(1, 2)
            grad_x = _product(left, turned, ends, ROWS, ctx.dtypes[0])
        if ctx.needs_input_grad[1]:
            left = _by_rows_of_groups(x, ends, ctx.config.get_key_dtype("inputs"))
            right = _by_rows_of_groups(grad, ends, dtype)
            turned = left[0].t(), left[1].transpose(0, 1)
            grad_weight = _product(turned, right, ends, SHARED_DIMENSION, ctx.dtypes[1])
        return grad_x, grad_weight, None, None, None


def mx_quant_group_gemm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    tokens_per_expert: list[int] | Tensor | None = None,
    grad_enabled: bool = True,
    config: Any = None,
    to_shape: list[int] | None = None,
    ori_weight: Tensor | None = None,
) -> Tensor:
    """x [rows, in] in the order of experts, weight [experts, in, out] or what is so in `to_shape` -> [rows, out]"""
    if bias is not None:
        raise NotImplementedError("mx_quant_group_gemm: experts have no bias here; add it to the result")
    if tokens_per_expert is None:
        raise ValueError("mx_quant_group_gemm: tokens_per_expert is None, wanted the rows of each expert")
    whole = weight if to_shape is None else weight.view(to_shape)
    counts = torch.as_tensor(tokens_per_expert, dtype=torch.int64, device=x.device)
    y: Tensor = gmm_with_hp_or_lp_weight.apply(x, whole, counts.cumsum(0), config, grad_enabled)
    return y
