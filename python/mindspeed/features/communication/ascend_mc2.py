# SPDX-License-Identifier: Apache-2.0
"""With sequence parallelism a linear layer's product and the gather or the scatter next to it are one operator.

Megatron's layers compute by the products that the stand-in of Transformer Engine has, and both by fused operators: forward
gather and product (column), product and scatter (row), backward the same the other way round.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from mindspeed.adaptor import Feature, Flag, Level, Need, Patch
from mindspeed.ops.parallel_linear import Plan, Product, flatten

RANKS = (2, 4, 8, 16, 32)  # what the operators of torch_npu take
Linear = Callable[..., Tensor]


def always(plan: Plan) -> bool:
    """Every plan that gathers or scatters; others do not ask."""
    return plan.size in RANKS


def _group(given: Any) -> Any:
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


def gathering(linear: Linear) -> Linear:
    """Megatron's functions under its column-parallel layers, for weights that are trained or not.

    The layers give all arguments by name; other callers, and gradients that wait (grad_output_buffer), go on as before.
    """

    @functools.wraps(linear)
    def forward(*args: Any, **kwargs: Any) -> Tensor:
        fits = not args and kwargs.get("sequence_parallel") and kwargs.get("grad_output_buffer") is None
        group = _group(kwargs.get("tp_group")) if fits else None
        if group is None or group.size() not in RANKS:
            return linear(*args, **kwargs)
        weight = kwargs["weight"]
        plan = Plan(
            mode="column",
            group=group,
            size=group.size(),
            sequence_parallel=True,
            fuse_wgrad=kwargs["gradient_accumulation_fusion"] and weight.requires_grad,
        )
        bias = kwargs["bias"]
        if bias is not None and not weight.requires_grad:
            bias = bias.detach()  # as Megatron: the bias of a frozen weight gets no gradient
        return _rows(kwargs["input"], weight, bias, plan)

    return forward


def scattering(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Megatron's row-parallel layer."""

    def forward_scattering(self: Any, input_: Tensor) -> tuple[Tensor, Tensor | None]:
        group = _group(getattr(self, "tp_group", None)) if self.sequence_parallel else None
        offloads = self.config._cpu_offloading_context is not None
        if group is None or self.explicit_expert_comm or offloads or group.size() not in RANKS:
            result: tuple[Tensor, Tensor | None] = forward(self, input_)
            return result
        plan = Plan(
            mode="row",
            group=group,
            size=group.size(),
            sequence_parallel=True,
            fuse_wgrad=self.gradient_accumulation_fusion and self.weight.requires_grad,
        )
        bias = None if self.skip_bias_add else self.bias
        return _rows(input_, self.weight, bias, plan), self.bias if self.skip_bias_add else None

    return forward_scattering


def check(args: Any) -> Iterator[str]:
    size = getattr(args, "tensor_model_parallel_size", 1) or 1
    if size not in RANKS:
        yield (
            f"--tensor-model-parallel-size is {size}; the fused operators are for {', '.join(map(str, RANKS))} ranks: "
            "give one of these, or leave the flag out"
        )


_LAYERS = "megatron.core.tensor_parallel.layers"
FEATURE = Feature(
    name="ascend-mc2",
    level=Level.ACCELERATION,
    flags=(
        Flag(
            "--use-ascend-mc2",
            "Products of sequence-parallel linear layers contain their gather or scatter, forward and backward.",
        ),
    ),
    needs=(Need(flag="--sequence-parallel", why="without it there is nothing to gather or to scatter"),),
    check=check,
    patches=(
        Patch(f"{_LAYERS}:linear_with_grad_accumulation_and_async_allreduce", gathering, wraps=True),
        Patch(f"{_LAYERS}:linear_with_frozen_weight", gathering, wraps=True),
        Patch(f"{_LAYERS}:RowParallelLinear.forward", scattering, wraps=True),
        Patch("mindspeed.ops.parallel_linear:fuses", always),
    ),
)
