# SPDX-License-Identifier: Apache-2.0
"""The tanh form of GELU behind Megatron's bias and gate fusions, and its gradient, are one operator each."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch_npu
from torch import Tensor

from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.flags import Flag
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch

_BIAS = "megatron.core.fusions.fused_bias_gelu"
_GATED = "megatron.core.fusions.fused_bias_geglu"
_TANH = "tanh"

Function = Callable[..., Tensor]


def fused_bias_gelu(written_out: Function) -> Function:
    def bias_gelu(bias: Tensor, y: Tensor) -> Tensor:
        if y.device.type != "npu":
            return written_out(bias, y)
        result: Tensor = torch_npu.npu_gelu(bias + y, approximate=_TANH)
        return result

    return bias_gelu


def fused_bias_gelu_back(written_out: Function) -> Function:
    def bias_gelu_back(g: Tensor, bias: Tensor, y: Tensor) -> Tensor:
        if y.device.type != "npu":
            return written_out(g, bias, y)
        result: Tensor = torch_npu.npu_gelu_backward(g, bias + y, approximate=_TANH)
        return result

    return bias_gelu_back


def fused_geglu(written_out: Function) -> Function:
    """gelu(first half) * second half."""

    def geglu(y: Tensor) -> Tensor:
        if y.device.type != "npu":
            return written_out(y)
        gate, value = torch.chunk(y, 2, -1)
        result: Tensor = torch_npu.npu_gelu(gate, approximate=_TANH) * value
        return result

    return geglu


def fused_geglu_back(written_out: Function) -> Function:
    def geglu_back(g: Tensor, y: Tensor) -> Tensor:
        if y.device.type != "npu":
            return written_out(g, y)
        gate, value = torch.chunk(y, 2, -1)
        of_gate = torch_npu.npu_gelu_backward(g * value, gate.contiguous(), approximate=_TANH)
        return torch.cat((of_gate, g * torch_npu.npu_gelu(gate, approximate=_TANH)), -1)

    return geglu_back


FEATURE = Feature(
    name="fused-gelu",
    level=Level.AFFINITY,
    flags=(
        Flag(
            "--use-fused-gelu",
            "GELU with bias or gate, and its gradient, by the GELU operator.",
            negative="--no-fused-gelu",
        ),
    ),
    patches=(
        Patch(f"{_BIAS}:bias_gelu", fused_bias_gelu, wraps=True),
        Patch(f"{_BIAS}:bias_gelu_back", fused_bias_gelu_back, wraps=True),
        Patch(f"{_GATED}:geglu", fused_geglu, wraps=True),
        Patch(f"{_GATED}:geglu_back", fused_geglu_back, wraps=True),
    ),
)
