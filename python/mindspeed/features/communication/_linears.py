# SPDX-License-Identifier: Apache-2.0
"""Megatron's tensor-parallel layers by the products that the stand-in of Transformer Engine has (mindspeed.ops.parallel_linear),
which features compute in their own ways."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from torch import Tensor

from mindspeed.adaptor import Patch
from mindspeed.ops.parallel_linear import Plan, Product, flatten

Linear = Callable[..., Tensor]
Takes = Callable[[Plan], bool]  # whether a product is computed so; others go on as before
Lay = Callable[[Plan], Plan]  # a plan that says how


def tensor_parallel_group(given: Any) -> Any:
    """What is given, as newer releases of Megatron hand groups on, or else Megatron's own."""
    if given is not None:
        return given
    from megatron.core import parallel_state

    return parallel_state.get_tensor_model_parallel_group()


def _rows(x: Tensor, weight: Tensor, bias: Tensor | None, plan: Plan) -> Tensor:
    """By rows, as Megatron sums the gradient of a bias."""
    y = Product.apply(flatten(x), weight, plan)
    if bias is not None:
        y = y + bias
    return y.view(-1, *x.shape[1:-1], y.shape[-1])


def as_features_say(plan: Plan) -> Plan:
    return plan


def gathering(takes: Takes, lay: Lay = as_features_say) -> Callable[[Linear], Linear]:
    """Megatron's functions under its column-parallel layers, for weights that are trained or not, with sequence parallelism.

    The layers give all arguments by name, from 0.14 on the first two by position; other callers, and gradients that wait
    (grad_output_buffer), go on as before.
    """

    def wrapping(linear: Linear) -> Linear:
        @functools.wraps(linear)
        def forward(*args: Any, **kwargs: Any) -> Tensor:
            is_layers = len(args) in (0, 2) and kwargs.get("grad_output_buffer") is None
            if not is_layers or not kwargs.get("sequence_parallel"):
                return linear(*args, **kwargs)
            x, weight = args or (kwargs["input"], kwargs["weight"])
            group = tensor_parallel_group(kwargs.get("tp_group"))
            plan = Plan(
                mode="column",
                group=group,
                size=group.size(),
                sequence_parallel=True,
                fuse_wgrad=kwargs["gradient_accumulation_fusion"] and weight.requires_grad,
            )
            if not takes(plan):
                return linear(*args, **kwargs)
            bias = kwargs["bias"]
            if bias is not None and not weight.requires_grad:
                bias = bias.detach()  # as Megatron: the bias of a frozen weight gets no gradient
            return _rows(x, weight, bias, lay(plan))

        return forward

    return wrapping


def rows(takes: Takes, lay: Lay = as_features_say) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Megatron's row-parallel layer, except of experts, whose dispatcher communicates."""

    def wrapping(forward: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(forward)
        def forward_rows(self: Any, input_: Tensor) -> tuple[Tensor, Tensor | None]:
            group = tensor_parallel_group(getattr(self, "tp_group", None))
            plan = Plan(
                mode="row",
                group=group,
                size=group.size(),
                sequence_parallel=self.sequence_parallel,
                fuse_wgrad=self.gradient_accumulation_fusion and self.weight.requires_grad,
            )
            offloads = self.config._cpu_offloading_context is not None
            if self.explicit_expert_comm or offloads or not self.input_is_parallel or not takes(plan):
                result: tuple[Tensor, Tensor | None] = forward(self, input_)
                return result
            bias = None if self.skip_bias_add else self.bias
            return _rows(input_, self.weight, bias, lay(plan)), self.bias if self.skip_bias_add else None

        return forward_rows

    return wrapping


_LAYERS = "megatron.core.tensor_parallel.layers"


def patches(takes: Takes) -> tuple[Patch, ...]:
    return (
        Patch(f"{_LAYERS}:linear_with_grad_accumulation_and_async_allreduce", gathering(takes), wraps=True),
        Patch(f"{_LAYERS}:linear_with_frozen_weight", gathering(takes), wraps=True),
        Patch(f"{_LAYERS}:RowParallelLinear.forward", rows(takes), wraps=True),
    )
