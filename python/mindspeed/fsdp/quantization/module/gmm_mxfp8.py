# SPDX-License-Identifier: Apache-2.0
"""Products of experts with factors in MX fp8: rows of each expert with its matrix, all in one operator.

Each factor is quantised along what its product sums over: for the gradient of a matrix that is its expert's rows. Matrices are
[experts, in, out] or [experts, out, in], or what FSDP has gathered of these in 8 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch_npu
from torch import Tensor

from mindspeed.fsdp.quantization.core.post_quant_weight import PostQuantWeight
from mindspeed.fsdp.quantization.core.pre_quant_weight import PreQuantWeight
from mindspeed.fsdp.quantization.module.linear_mxfp8 import Pairs, process_quant_result_fn, quantisable
from mindspeed.ops._groups import CUMULATIVE, ROWS, SHARED_DIMENSION

__all__ = ["gmm_with_hp_or_lp_weight", "mx_quant_group_gemm", "weight_quant"]

_ONE_RESULT = 3
_BLOCK = 32
Pair = tuple[Tensor, Tensor]


def weight_quant(weight: Tensor, dst_type: torch.dtype, new_shape: Sequence[int], config: Any) -> Pairs:
    """What is [experts, in, out] in `new_shape` -> numbers and scales along in, which the output sums over, and along out; numbers
    are in the weight's own shape."""
    found = process_quant_result_fn(weight.reshape(tuple(new_shape)), dst_type, config)
    return found[2].view(weight.shape), found[3], found[0].view(weight.shape), found[1]


def _product(left: Pair, right: Pair, ends: Tensor, kind: int, dtype: torch.dtype) -> Tensor:
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


def _turned(matrices: Pair) -> Pair:
    return matrices[0].transpose(1, 2), matrices[1].transpose(1, 2)


def _of_weight(weight: Tensor, config: Any, is_out_in: bool) -> tuple[Pair, Pair | None]:
    """Along in, which the output sums over, and along out, unless that is gathered for the backward pass."""
    if isinstance(weight, PostQuantWeight):
        return weight.forward_operand(), None
    own = weight._tensor if isinstance(weight, PreQuantWeight) else weight
    found = process_quant_result_fn(quantisable(own.contiguous()), config.get_key_dtype("weight"), config)
    return (found[:2], found[2:]) if is_out_in else (found[2:], found[:2])


class gmm_with_hp_or_lp_weight(torch.autograd.Function):
    """x [rows, in], weight [experts, in, out] or, with is_out_in, [experts, out, in], the last row of each expert -> [rows, out]"""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, ends: Tensor, config: Any, grad_enabled: bool, is_out_in: bool
    ) -> Tensor:
        along_in, along_out = _of_weight(weight, config, is_out_in)
        flat = quantisable(x)
        ctx.config, ctx.is_out_in, ctx.dtypes = config, is_out_in, (x.dtype, weight.dtype)
        ctx.gathered = weight if along_out is None else None  # FSDP puts into it what the backward pass wants
        if grad_enabled:
            ctx.save_for_backward(flat, ends, *(along_out or ()))
        if x.shape[0] == 0:
            return x.new_zeros(0, weight.shape[1 if is_out_in else 2])
        left = torch_npu.npu_dynamic_mx_quant(flat, axis=-1, dst_type=config.get_key_dtype("inputs"))
        return _product(left, _turned(along_in) if is_out_in else along_in, ends, ROWS, x.dtype)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        x, ends, *kept = ctx.saved_tensors
        along_out = tuple(kept) if ctx.gathered is None else ctx.gathered.backward_operand()
        grad, dtype = quantisable(grad_output.contiguous()), ctx.config.get_key_dtype("grads")
        if x.shape[0] == 0:
            empty = torch.zeros(along_out[0].shape, dtype=ctx.dtypes[1], device=x.device)
            return x.to(ctx.dtypes[0]), empty, None, None, None, None
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            left = torch_npu.npu_dynamic_mx_quant(grad, axis=-1, dst_type=dtype)
            right = along_out if ctx.is_out_in else _turned(along_out)
            grad_x = _product(left, right, ends, ROWS, ctx.dtypes[0])
        if ctx.needs_input_grad[1]:
            of_x = _by_rows_of_groups(x, ends, ctx.config.get_key_dtype("inputs"))
            of_grad = _by_rows_of_groups(grad, ends, dtype)
            rows, columns = (of_grad, of_x) if ctx.is_out_in else (of_x, of_grad)
            turned = rows[0].t(), rows[1].transpose(0, 1)
            grad_weight = _product(turned, columns, ends, SHARED_DIMENSION, ctx.dtypes[1])
        return grad_x, grad_weight, None, None, None, None


def mx_quant_group_gemm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    tokens_per_expert: list[int] | Tensor | None = None,
    grad_enabled: bool = True,
    config: Any = None,
    to_shape: list[int] | None = None,
    ori_weight: Tensor | None = None,
    *,
    is_out_in: bool = False,
) -> Tensor:
    """x [rows, in] in the order of experts, weight [experts, in, out] or what is so in `to_shape` -> [rows, out]

    is_out_in: the weight is [experts, out, in].
    """
    if bias is not None:
        raise NotImplementedError("mx_quant_group_gemm: experts have no bias here; add it to the result")
    if tokens_per_expert is None:
        raise ValueError("mx_quant_group_gemm: tokens_per_expert is None, wanted the rows of each expert")
    whole = weight if to_shape is None else weight.view(to_shape)
    counts = torch.as_tensor(tokens_per_expert, dtype=torch.int64, device=x.device)
    y: Tensor = gmm_with_hp_or_lp_weight.apply(x, whole, counts.cumsum(0), config, grad_enabled, is_out_in)
    return y
