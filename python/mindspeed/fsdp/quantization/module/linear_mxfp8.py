# SPDX-License-Identifier: Apache-2.0
"""Linear layers whose products have factors in MX fp8: numbers of 8 bits, and a power of two for each 32 of them.

Each factor is quantised along what its product sums over, sums are float32, and results are of the type of x.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch_npu
from torch import Tensor, nn

from mindspeed.fsdp.parallel_engine_config import QuantizeConfig
from mindspeed.fsdp.quantization.core.post_quant_weight import PostQuantWeight
from mindspeed.fsdp.quantization.core.pre_quant_weight import SQUARES, PreQuantWeight
from mindspeed.ops.fp8_products import E4M3, E5M2, MX_GROUPS, Type, multiply, pair

__all__ = [
    "MXLinear",
    "matmul_with_hp_or_lp_weight",
    "mx_quant_linear",
    "process_quant_result_fn",
    "weight_quant",
]

PLAIN = "mxfp8"
_TYPES = {kind.dtype: kind for kind in (E4M3, E5M2)}
Pairs = tuple[Tensor, Tensor, Tensor, Tensor]


def process_quant_result_fn(weight: Tensor, dst_type: torch.dtype, config: Any) -> Pairs:
    """[out, in] -> numbers and scales along in, which the output sums over, and along out, which the gradient of x does."""
    if config.recipe_name == PLAIN:
        found: Pairs = torch_npu.npu_dynamic_mx_quant_with_dual_axis(weight, dst_type=dst_type)
        return found
    if config.recipe_name == SQUARES:
        numbers, along_in, along_out = torch_npu.npu_dynamic_block_mx_quant(weight, dst_type=dst_type)
        return numbers, along_in, numbers, along_out
    raise ValueError(f"Unsupported recipe_name {config.recipe_name!r}: there are {PLAIN} and {SQUARES}")


weight_quant = process_quant_result_fn


def kind_of(config: Any, key: str) -> Type:
    return _TYPES[config.get_key_dtype(key)]


def quantisable(x: Tensor) -> Tensor:
    """As the quantisers take it."""
    return x.bfloat16() if x.dtype is torch.float32 else x


def _of_weight(weight: Tensor, config: Any, grad_enabled: bool) -> tuple[tuple[Tensor, Tensor], Any]:
    """For the output, and what the gradient of x takes: a pair, or a weight that will be gathered again."""
    if isinstance(weight, PostQuantWeight):
        return weight.forward_operand(), weight
    dtype = config.get_key_dtype("weight")
    own = weight._tensor if isinstance(weight, PreQuantWeight) else weight
    if not grad_enabled:
        return torch_npu.npu_dynamic_mx_quant(quantisable(own), axis=-1, dst_type=dtype), None
    parts = process_quant_result_fn(weight=quantisable(own), dst_type=dtype, config=config)
    return parts[:2], parts[2:]


class matmul_with_hp_or_lp_weight(torch.autograd.Function):
    """x [..., in], weight [out, in], bias [out] or None -> [..., out]"""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        config: Any,
        grad_enabled: bool,
        bias: Tensor | None = None,
        name: str | None = None,
    ) -> Tensor:
        flat, kind = quantisable(x.reshape(-1, x.shape[-1])), kind_of(config, "inputs")
        if grad_enabled:
            parts = torch_npu.npu_dynamic_mx_quant_with_dual_axis(flat, dst_type=kind.dtype)
            ctx.x = pair(parts[2:], kind)
        else:
            parts = torch_npu.npu_dynamic_mx_quant(flat, axis=-1, dst_type=kind.dtype)
        right, ctx.weight = _of_weight(weight, config, grad_enabled)
        ctx.config, ctx.weight_dtype, ctx.bias_dtype = (
            config,
            weight.dtype,
            None if bias is None else bias.dtype,
        )
        y = multiply(pair(parts[:2], kind), pair(right, kind_of(config, "weight")).t(), x.dtype, MX_GROUPS)
        y = y.view(*x.shape[:-1], y.shape[-1])
        return y if bias is None else y + bias.to(y.dtype)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        flat, kind = grad_output.reshape(-1, grad_output.shape[-1]), kind_of(ctx.config, "grads")
        parts = torch_npu.npu_dynamic_mx_quant_with_dual_axis(quantisable(flat), dst_type=kind.dtype)
        by_rows, by_columns = pair(parts[:2], kind), pair(parts[2:], kind)
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            right = ctx.weight.backward_operand() if isinstance(ctx.weight, PostQuantWeight) else ctx.weight
            grad_x = multiply(
                by_rows, pair(right, kind_of(ctx.config, "weight")), grad_output.dtype, MX_GROUPS
            )
            grad_x = grad_x.view(*grad_output.shape[:-1], grad_x.shape[-1])
        if ctx.needs_input_grad[1]:
            grad_weight = multiply(by_columns.t(), ctx.x, ctx.weight_dtype, MX_GROUPS)
        grad_bias = None if ctx.bias_dtype is None else flat.sum(0).to(ctx.bias_dtype)
        return grad_x, grad_weight, None, None, grad_bias, None


def mx_quant_linear(
    x: Tensor,
    weight: Tensor,
    config: Any = None,
    grad_enabled: bool = True,
    bias: Tensor | None = None,
    name: str | None = None,
) -> Tensor:
    """x [..., in], weight [out, in] -> [..., out]; the weight may be one that was gathered in 8 bits.

    grad_enabled: keep what gradients need. name: of the layer, for whoever looks at it.
    """
    y: Tensor = matmul_with_hp_or_lp_weight.apply(x, weight, config, grad_enabled, bias, name)
    return y


class MXLinear(nn.Linear):
    """A linear layer that computes so, by a QuantizeConfig."""

    def __init__(self, *args: Any, config: QuantizeConfig | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.config = config
        self._name: str | None = None

    @classmethod
    def from_float(cls, mod: nn.Linear, config: QuantizeConfig, name: str | None = None) -> MXLinear:
        """The layer itself, with its parameters; under FSDP its weight is gathered in 8 bits if the config says so."""
        mod.__class__ = cls
        assert isinstance(mod, MXLinear)
        mod.config, mod._name = config, name
        if config.enable_fsdp_low_precision_all_gather:
            quantise = functools.partial(weight_quant, dst_type=config.get_key_dtype("weight"), config=config)
            made = PreQuantWeight(mod.weight.detach(), quantise, config, mod.weight.dtype, name=name)
            mod.weight = nn.Parameter(made, requires_grad=mod.weight.requires_grad)
        return mod

    def forward(self, input: Tensor) -> Tensor:
        if torch.is_autocast_enabled("npu"):
            input = input.to(torch.get_autocast_dtype("npu"))
        return mx_quant_linear(
            input, self.weight, self.config, torch.is_grad_enabled(), self.bias, self._name
        )

    def extra_repr(self) -> str:
        recipe = "" if self.config is None else f", recipe={self.config.recipe_name}"
        return super().extra_repr() + recipe
