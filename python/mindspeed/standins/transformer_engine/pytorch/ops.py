# SPDX-License-Identifier: Apache-2.0
"""Transformer Engine's operations, one after the other: what --use-transformer-engine-op-fuser makes of an MLP.

Sequential runs them as they are: what is fused here is inside of a product (its bias) or of an operator (norms, SwiGLU).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from mindspeed.standins.refusal import RefusedError, missing_attribute, refused_class

from .module.layernorm import LayerNorm as _LayerNorm
from .module.linear import Linear as _Linear
from .module.rmsnorm import RMSNorm as _RMSNorm

# What Megatron does not build, or 0.18 and later do for experts.
_NAMES = (
    "Linear GroupedLinear ScaledSwiGLU ScaledClampedQGeGLU ScaledSReLU MakeExtraOutput AddExtraInput".split()
)
globals().update(
    {
        name: refused_class(f"{__name__}.{name}", "Leave out --use-transformer-engine-op-fuser")
        for name in _NAMES
    }
)

__getattr__ = missing_attribute(__name__)


class FusibleOperation(torch.nn.Module):
    """A part of a Sequential."""


class Sequential(torch.nn.Sequential):
    """Operations in turn; others than these may be among them."""


def _refuse_userbuffers(options: Any) -> None:
    if options:
        raise RefusedError(f"BasicLinear(userbuffers_options={options!r})", "Leave out --tp-comm-overlap")


class BasicLinear(_Linear, FusibleOperation):
    """y = x w^T of [in, out] features, `weight` being this rank's slice; a bias is an operation of its own."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        device: Any = None,
        dtype: torch.dtype | None = None,
        tensor_parallel_mode: str | None = None,
        tensor_parallel_group: Any = None,
        sequence_parallel: bool = False,
        rng_state_tracker_function: Callable[[], Any] | None = None,
        accumulate_into_main_grad: bool = False,
        userbuffers_options: dict[str, Any] | None = None,
    ) -> None:
        _refuse_userbuffers(userbuffers_options)
        group = tensor_parallel_group
        super().__init__(
            in_features,
            out_features,
            sequence_parallel=sequence_parallel,
            fuse_wgrad_accumulation=accumulate_into_main_grad,
            tp_group=group,
            tp_size=group.size() if group is not None and tensor_parallel_mode is not None else 1,
            get_rng_state_tracker=rng_state_tracker_function,
            bias=False,
            params_dtype=dtype,
            parallel_mode=tensor_parallel_mode,
            device=device or "cuda",
        )


class Bias(FusibleOperation):
    """x + bias over the last dimension."""

    def __init__(self, size: int, *, device: Any = None, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(size, device=device or "cuda", dtype=dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.bias.to(x.dtype)


class LayerNorm(_LayerNorm, FusibleOperation):
    """Over the last dimension."""


class RMSNorm(_RMSNorm, FusibleOperation):
    """Over the last dimension."""


class _Activation(FusibleOperation):
    """Of every element; of gated ones the first half of the last dimension is what the second is multiplied with."""

    function: Callable[[torch.Tensor], torch.Tensor]
    gated = False

    def __init__(self, *, cache_quantized_input: bool = False) -> None:
        super().__init__()
        if cache_quantized_input:
            raise RefusedError(
                f"{type(self).__name__}(cache_quantized_input=True)",
                "Leave out --activation-func-fp8-input-store",
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        function = type(self).function
        if not self.gated:
            return function(x)
        gate, value = x.chunk(2, dim=-1)
        return function(gate) * value


def _gelu(x: torch.Tensor) -> torch.Tensor:
    return F.gelu(x, approximate="tanh")


class GELU(_Activation):
    """By a tanh, as Transformer Engine's."""

    function = staticmethod(_gelu)


class GEGLU(GELU):
    gated = True


class ReLU(_Activation):
    function = staticmethod(F.relu)


class ReGLU(ReLU):
    gated = True


class SiLU(_Activation):
    function = staticmethod(F.silu)


class SwiGLU(SiLU):
    """One operator on a device that has it."""

    gated = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.device.type != "npu":
            return super().forward(x)
        import torch_npu

        return torch_npu.npu_swiglu(x, dim=-1)


class _Reduced(torch.autograd.Function):
    """The sum over a group, which all ranks go on with: their gradients are those of the parts."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, group: Any) -> torch.Tensor:
        whole = x.clone()
        torch.distributed.all_reduce(whole, group=group)
        return whole

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        return grad, None


class _Scattered(torch.autograd.Function):
    """The sum over a group, of which each rank goes on with its part of the rows."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, group: Any) -> torch.Tensor:
        ctx.group = group
        part = x.new_empty(x.shape[0] // group.size(), *x.shape[1:])
        torch.distributed.reduce_scatter_tensor(part, x.contiguous(), group=group)
        return part

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        whole = grad.new_empty(grad.shape[0] * ctx.group.size(), *grad.shape[1:])
        torch.distributed.all_gather_into_tensor(whole, grad.contiguous(), group=ctx.group)
        return whole, None


class _Exchange(FusibleOperation):
    function: type[torch.autograd.Function]

    def __init__(self, process_group: Any = None) -> None:
        super().__init__()
        self.process_group = process_group

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function.apply(x, self.process_group or torch.distributed.group.WORLD)


class AllReduce(_Exchange):
    """Partial sums to whole ones on every rank."""

    function = _Reduced


class ReduceScatter(_Exchange):
    """Partial sums to whole ones, of which every rank has its rows; their number is a multiple of the ranks'."""

    function = _Scattered

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = torch.distributed.get_world_size(self.process_group)
        if x.shape[0] % size:
            raise ValueError(f"ReduceScatter: {x.shape[0]} rows over {size} ranks do not come out even")
        return super().forward(x)
