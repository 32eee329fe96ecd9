# SPDX-License-Identifier: Apache-2.0
"""SwiGLU and its gradient are one operator each.

Megatron's functions with bias, with weights per token and with inputs kept in FP8 call these two.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch_npu
from torch import Tensor

from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.flags import Flag
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch

_MODULE = "megatron.core.fusions.fused_bias_swiglu"


def fused_swiglu(written_out: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """silu(first half) * second half."""

    def swiglu(y: Tensor) -> Tensor:
        if y.device.type != "npu":
            return written_out(y)
        result: Tensor = torch_npu.npu_swiglu(y, dim=-1)
        return result

    return swiglu


def fused_swiglu_back(written_out: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """`g` is the gradient of the result; the operator wants both in one type, as Megatron's product promotes."""

    def swiglu_back(g: Tensor, y: Tensor) -> Tensor:
        if y.device.type != "npu":
            return written_out(g, y)
        wide = torch.promote_types(g.dtype, y.dtype)
        result: Tensor = torch_npu.npu_swiglu_backward(g.to(wide), y.to(wide), dim=-1)
        return result

    return swiglu_back


FEATURE = Feature(
    name="fused-swiglu",
    level=Level.AFFINITY,
    flags=(
        Flag(
            "--use-fused-swiglu",
            "SwiGLU and its gradient by one operator each.",
            negative="--no-fused-swiglu",
        ),
    ),
    patches=(
        Patch(f"{_MODULE}:swiglu", fused_swiglu, wraps=True),
        Patch(f"{_MODULE}:swiglu_back", fused_swiglu_back, wraps=True),
    ),
)
