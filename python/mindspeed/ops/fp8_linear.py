# SPDX-License-Identifier: Apache-2.0
"""parallel_linear's product with a scheme of fp8_products: the same layouts over a tensor-parallel group, with collectives of
the numbers as they are and products of what they become.
"""

from __future__ import annotations

from typing import Any

import torch

from mindspeed.ops import later
from mindspeed.ops.fp8_products import Gradients, Scheme
from mindspeed.ops.parallel_linear import (
    Plan,
    add_to_main_grad,
    check_shared,
    flatten,
    gather,
    weight_gradient,
)
from mindspeed.ops.typed import typed


def scatter_sum(whole: torch.Tensor, plan: Plan) -> torch.Tensor:
    """[s, ...] of each rank -> the part [s / ranks, ...] of the sum"""
    check_shared(whole.shape[0], plan)
    part = whole.new_empty((whole.shape[0] // plan.size, *whole.shape[1:]))
    torch.distributed.reduce_scatter_tensor(part, whole.contiguous(), group=plan.group)
    return part


class Fp8Product(torch.autograd.Function):
    """x [..., in], w [out, in] -> y [..., out]. With `exact_weight_gradient` that one gradient is computed of x itself; what is
    `held` stands for the weight's values."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        plan: Plan,
        scheme: Scheme,
        exact_weight_gradient: bool,
        held: Any,
    ) -> torch.Tensor:
        whole = gather(x, plan) if plan.gathers else x
        source = weight if held is None else held
        y, kept = scheme.output(flatten(whole), source)
        ctx.plan, ctx.scheme, ctx.weight, ctx.exact = plan, scheme, weight, exact_weight_gradient
        ctx.source = source
        ctx.count, ctx.shape = len(kept), x.shape
        needs_x = exact_weight_gradient and ctx.needs_input_grad[1]
        ctx.save_for_backward(*kept, x if needs_x else None)
        y = y.view(*whole.shape[:-1], weight.shape[0])
        if plan.scatters:
            return scatter_sum(y, plan)
        if plan.sums:
            torch.distributed.all_reduce(y, group=plan.group)
        return y

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        plan, weight = ctx.plan, ctx.weight
        kept, x = ctx.saved_tensors[: ctx.count], ctx.saved_tensors[ctx.count]
        whole = gather(grad, plan) if plan.scatters else grad
        gradients = ctx.scheme.gradients(flatten(whole).contiguous())
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = gradients.of_input(ctx.source, kept).view(*whole.shape[:-1], weight.shape[1])
            if plan.gathers:
                grad_x = scatter_sum(grad_x, plan)
            elif plan.size > 1 and plan.mode == "column":
                torch.distributed.all_reduce(grad_x, group=plan.group)
        if not ctx.needs_input_grad[1]:
            return grad_x, None, None, None, None, None
        if plan.delayed is not None:
            plan.delayed.append(lambda: give_later(weight, plan, gradients, kept, x))
            return grad_x, None, None, None, None, None
        of_w = later.gradient_of(weight, lambda: of_weight(weight, plan, gradients, kept, x))
        return grad_x, of_w, None, None, None, None


def of_weight(
    weight: torch.Tensor,
    plan: Plan,
    gradients: Gradients,
    kept: tuple[torch.Tensor, ...],
    x: torch.Tensor | None,
) -> torch.Tensor | None:
    """dw; fused, it is added to main_grad in float32."""
    if x is not None:
        whole = gather(x, plan) if plan.gathers else x
        return weight_gradient(weight, gradients.grad, flatten(whole), plan.fuse_wgrad)
    if plan.fuse_wgrad:
        return add_to_main_grad(weight, lambda main: main.add_(gradients.of_weight(kept, torch.float32)))
    return gradients.of_weight(kept, gradients.grad.dtype).to(weight.dtype)


def give_later(
    weight: torch.Tensor,
    plan: Plan,
    gradients: Gradients,
    kept: tuple[torch.Tensor, ...],
    x: torch.Tensor | None,
) -> None:
    """What autograd did not wait for. A fused gradient has arrived in main_grad."""
    gradient = of_weight(weight, plan, gradients, kept, x)
    if gradient is not None and not plan.fuse_wgrad:
        weight.grad = gradient if weight.grad is None else weight.grad.add_(gradient)


def fp8_linear(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    plan: Plan,
    scheme: Scheme,
    exact: bool,
    held: Any = None,
) -> torch.Tensor:
    """With the bias added where every rank has its own part of the output. `held` has the weight's quantised numbers, if anything does
    (fp8_weights.Reused)."""
    y: torch.Tensor = Fp8Product.apply(x, weight, plan, scheme, exact, held)
    return y if bias is None else y + typed(bias, y.dtype)
