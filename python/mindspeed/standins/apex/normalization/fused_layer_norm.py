# SPDX-License-Identifier: Apache-2.0
"""Layer norm and RMS norm; `memory_efficient` keeps the output instead of the input for backward, here the operator decides."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch

from mindspeed.ops.norms import rms_norm
from mindspeed.ops.typed import typed
from mindspeed.standins.refusal import missing_attribute

__getattr__ = missing_attribute(__name__)

Shape: TypeAlias = "int | tuple[int, ...] | torch.Size"


def _sizes(shape: Shape) -> tuple[int, ...]:
    return (shape,) if isinstance(shape, int) else tuple(shape)


def fused_layer_norm_affine(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    normalized_shape: Shape,
    eps: float = 1e-6,
    memory_efficient: bool = False,
) -> torch.Tensor:
    """The result has the type of the input."""
    shape = _sizes(normalized_shape)
    return torch.nn.functional.layer_norm(
        input, shape, typed(weight, input.dtype), typed(bias, input.dtype), eps
    )


def fused_layer_norm(
    input: torch.Tensor, normalized_shape: Shape, eps: float = 1e-6, memory_efficient: bool = False
) -> torch.Tensor:
    """Without weight and bias."""
    return torch.nn.functional.layer_norm(input, _sizes(normalized_shape), eps=eps)


def fused_rms_norm_affine(
    input: torch.Tensor,
    weight: torch.Tensor,
    normalized_shape: Shape,
    eps: float = 1e-6,
    memory_efficient: bool = False,
) -> torch.Tensor:
    """The result has the type of the input."""
    if len(_sizes(normalized_shape)) != 1:
        raise NotImplementedError(
            f"RMS norm over {normalized_shape}: the stand-in normalises the last dimension"
        )
    return rms_norm(input, weight, eps, False)


class FusedLayerNormAffineFunction:
    """What Megatron calls; it reads the arguments' names from `forward`."""

    @staticmethod
    def forward(
        ctx: Any,
        input: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        normalized_shape: Shape,
        eps: float,
        memory_efficient: bool = False,
    ) -> torch.Tensor:
        return fused_layer_norm_affine(input, weight, bias, normalized_shape, eps, memory_efficient)

    @classmethod
    def apply(cls, *args: Any) -> torch.Tensor:
        """The operator has a gradient, so there is nothing to keep."""
        return cls.forward(None, *args)


class FusedLayerNorm(torch.nn.Module):
    """Parameters `weight` and `bias`."""

    def __init__(
        self,
        normalized_shape: Shape,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        memory_efficient: bool = False,
    ) -> None:
        super().__init__()
        self.normalized_shape = torch.Size(_sizes(normalized_shape))
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self.memory_efficient = memory_efficient
        if elementwise_affine:
            self.weight = torch.nn.Parameter(torch.empty(self.normalized_shape))
            self.bias = torch.nn.Parameter(torch.empty(self.normalized_shape))
        else:
            self.weight = self.bias = None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        if self.elementwise_affine:
            torch.nn.init.ones_(self.weight)
            torch.nn.init.zeros_(self.bias)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self.elementwise_affine:
            return fused_layer_norm(input, self.normalized_shape, self.eps)
        return fused_layer_norm_affine(input, self.weight, self.bias, self.normalized_shape, self.eps)


class MixedFusedLayerNorm(FusedLayerNorm):
    """The result has the type of the parameters."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input.to(self.weight.dtype))


class FusedRMSNorm(torch.nn.Module):
    """Parameter `weight`."""

    def __init__(
        self,
        normalized_shape: Shape,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        memory_efficient: bool = False,
    ) -> None:
        super().__init__()
        if not elementwise_affine:
            raise NotImplementedError("FusedRMSNorm(elementwise_affine=False) is not in MindSpeed's stand-in")
        self.normalized_shape = torch.Size(_sizes(normalized_shape))
        self.eps = eps
        self.weight = torch.nn.Parameter(torch.ones(self.normalized_shape))

    def reset_parameters(self) -> None:
        torch.nn.init.ones_(self.weight)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return fused_rms_norm_affine(input, self.weight, self.normalized_shape, self.eps)


class MixedFusedRMSNorm(FusedRMSNorm):
    """The result has the type of the parameters."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input.to(self.weight.dtype))
