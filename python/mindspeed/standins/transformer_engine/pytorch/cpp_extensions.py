# SPDX-License-Identifier: Apache-2.0
"""Products of matrices under the name by which Megatron's router asks for them."""

from __future__ import annotations

from typing import Any

import torch

from mindspeed.standins.refusal import RefusedError, missing_attribute

__getattr__ = missing_attribute(__name__)

# Letters as cuBLAS has them: is A, is B transposed? Its matrices lie by columns, so A is what stands right here.
_LAYOUTS = {
    "TN": lambda a, b: (b, a.t()),
    "NN": lambda a, b: (b, a),
    "NT": lambda a, b: (b.t(), a),
}


def general_gemm(
    A: torch.Tensor,
    B: torch.Tensor,
    workspace: Any = None,
    out_dtype: torch.dtype | None = None,
    quantization_params: Any = None,
    gelu: bool | None = False,
    gelu_in: torch.Tensor | None = None,
    accumulate: bool = False,
    layout: str = "TN",
    out: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    use_split_accumulator: bool = False,
    grad: bool = False,
    ub: Any = None,
    ub_type: Any = None,
    extra_output: torch.Tensor | None = None,
    bulk_overlap: bool = False,
) -> tuple[torch.Tensor | None, ...]:
    """(product, gradient of the bias, input of gelu, extra output); with grad, `bias` only asks for its gradient."""
    if quantization_params is not None or gelu or ub is not None:
        raise RefusedError("general_gemm with quantisation, gelu or overlapped communication")
    dtype = out_dtype or A.dtype
    left, right = _LAYOUTS[layout](A.to(dtype), B.to(dtype))
    if bias is None or grad:
        product = torch.matmul(left, right)
    else:
        product = torch.addmm(bias.to(dtype), left, right)  # rounded once
    bias_grad = B.sum(0, dtype=dtype) if bias is not None and grad else None
    if out is not None:
        product = out.add_(product) if accumulate else out.copy_(product)
    return product, bias_grad, None, extra_output
