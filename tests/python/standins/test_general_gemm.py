# SPDX-License-Identifier: Apache-2.0
"""general_gemm in each layout, as Megatron's router calls it: rounded once, with a bias too."""

from __future__ import annotations

import pytest
import torch

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)


@pytest.fixture
def gemm(standins):
    from transformer_engine.pytorch.cpp_extensions import general_gemm

    torch.manual_seed(3)
    return general_gemm


def normal(*shape: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(shape).to(device="npu", dtype=dtype)


@DTYPES
def test_a_bias_is_added_before_rounding(gemm, dtype: torch.dtype) -> None:
    """A bias that takes most of the product away: a second rounding would show."""
    weight, x = normal(40, 24, dtype=dtype), normal(30, 24, dtype=dtype)
    bias = -(x[:1] @ weight.t())[0]
    product, bias_grad, _, _ = gemm(weight, x, out_dtype=dtype, layout="TN", bias=bias)
    assert bias_grad is None and torch.equal(product, torch.nn.functional.linear(x, weight, bias))


@DTYPES
def test_gradients(gemm, dtype: torch.dtype) -> None:
    weight, x, grad = normal(40, 24, dtype=dtype), normal(30, 24, dtype=dtype), normal(30, 40, dtype=dtype)
    assert torch.equal(gemm(weight, grad, out_dtype=dtype, layout="NN", grad=True)[0], grad @ weight)
    of_weight, of_bias, _, _ = gemm(x, grad, out_dtype=dtype, layout="NT", grad=True, bias=weight[0])
    assert torch.equal(of_weight, grad.t() @ x) and torch.equal(of_bias, grad.sum(0))
