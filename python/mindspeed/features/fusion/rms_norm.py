# SPDX-License-Identifier: Apache-2.0
"""RMSNorm is one operator, where PyTorch writes five for an NPU.

LayerNorm needs nothing: PyTorch's is one operator at every level.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch_npu
from torch import Tensor

from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.flags import Flag
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch
from mindspeed.ops.typed import typed


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    result: Tensor = torch_npu.npu_rms_norm(x, weight, epsilon=eps)[0]
    return result


class FusedRMSNorm(torch.nn.RMSNorm):
    """As Megatron builds it: over the last dimension, with a weight and an epsilon."""

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "npu":
            return super().forward(x)
        eps = torch.finfo(x.dtype).eps if self.eps is None else self.eps
        return rms_norm(x, typed(self.weight, x.dtype), eps)


def build_fused(new: Callable[..., Any]) -> Callable[..., Any]:
    """What Megatron's factory makes, parameters and marks included, with the operator as forward."""

    def build(cls: type, *args: Any, **kwargs: Any) -> Any:
        norm = new(cls, *args, **kwargs)
        if type(norm) is torch.nn.RMSNorm:
            norm.__class__ = FusedRMSNorm
        return norm

    return build


def fused_l2_norm(written_out: Callable[[Any, Tensor], Tensor]) -> Callable[[Any, Tensor], Tensor]:
    """The same without a weight."""

    def _norm(self: Any, x: Tensor) -> Tensor:
        if x.device.type != "npu":
            return written_out(self, x)
        return rms_norm(x, x.new_ones(x.shape[-1]), self.eps)

    return _norm


def fused_legacy_norm(written_out: Callable[[Any, Tensor], Tensor]) -> Callable[[Any, Tensor], Tensor]:
    """Of the models before megatron-core."""

    def forward(self: Any, x: Tensor) -> Tensor:
        if x.device.type != "npu":
            return written_out(self, x)
        return rms_norm(x, typed(self.weight, x.dtype), self.eps)

    return forward


FEATURE = Feature(
    name="fused-rmsnorm",
    level=Level.AFFINITY,
    flags=(Flag("--use-fused-rmsnorm", "RMSNorm by one operator.", negative="--no-fused-rmsnorm"),),
    patches=(
        Patch("megatron.core.transformer.torch_norm:WrappedTorchNorm.__new__", build_fused, wraps=True),
        Patch("megatron.core.transformer.torch_norm:L2Norm._norm", fused_l2_norm, wraps=True),
        Patch(
            "megatron.legacy.model.rms_norm:RMSNorm.forward",
            fused_legacy_norm,
            wraps=True,
            requires="megatron.legacy.model",
        ),
    ),
)
