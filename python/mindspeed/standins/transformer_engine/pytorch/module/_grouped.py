# SPDX-License-Identifier: Apache-2.0
"""y = x w_g^T for the rows of each group g, and its gradients: an operator each, whatever the number of groups.

Only gradients that are added to main_grad are an operator per group with rows: Megatron's buffer has the accumulators
in the opposite order, so no one tensor holds them all.
"""

from __future__ import annotations

from typing import Any

import torch

from mindspeed.ops import later
from mindspeed.ops._groups import COUNTS, ROWS, SHARED_DIMENSION, product
from mindspeed.ops.parallel_linear import Plan, added_gradient
from mindspeed.ops.typed import typed


class GroupedProduct(torch.autograd.Function):
    """x [n, in], groups of `sizes` rows, a w [out, in] for each -> y [n, out]"""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, sizes: list[int], plan: Plan, *weights: torch.Tensor
    ) -> torch.Tensor:
        ctx.plan, ctx.sizes, ctx.weights = plan, sizes, weights
        ctx.counts = torch.tensor(sizes, device=x.device)
        ctx.save_for_backward(x if any(ctx.needs_input_grad[3:]) else None)
        return product(x, [typed(w, x.dtype).t() for w in weights], None, ctx.counts, COUNTS, ROWS)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        (x,) = ctx.saved_tensors
        plan, weights, counts = ctx.plan, ctx.weights, ctx.counts
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = product(grad, [typed(w, grad.dtype) for w in weights], None, counts, COUNTS, ROWS)
        wanted = ctx.needs_input_grad[3:]
        if plan.delayed is not None and any(wanted):
            plan.delayed.append(lambda: _give_later(ctx, grad, x, wanted))
            return of_x, None, None, *(None for _ in weights)
        if not any(wanted):
            return of_x, None, None, *(None for _ in weights)

        def compute() -> list[torch.Tensor | None]:
            found = weight_gradients(ctx, grad, x)
            return [gradient if want else None for gradient, want in zip(found, wanted, strict=True)]

        return of_x, None, None, *later.gradients_of(weights, compute)


def weight_gradients(ctx: Any, grad: torch.Tensor, x: torch.Tensor) -> list[torch.Tensor | None]:
    """dw_g [out, in] of every group; those without rows get zeros."""
    if not ctx.plan.fuse_wgrad:
        stacked = product(grad.t(), [x], None, ctx.counts, COUNTS, SHARED_DIMENSION)
        return [part.to(w.dtype) for part, w in zip(stacked.unbind(), ctx.weights, strict=True)]
    parts = zip(ctx.weights, grad.split(ctx.sizes), x.split(ctx.sizes), strict=True)
    return [added_gradient(*part) for part in parts]


def _give_later(ctx: Any, grad: torch.Tensor, x: torch.Tensor, wanted: tuple[bool, ...]) -> None:
    """What autograd did not wait for. Gradients that are fused have arrived in main_grad."""
    for weight, gradient, want in zip(ctx.weights, weight_gradients(ctx, grad, x), wanted, strict=True):
        if want and gradient is not None and not ctx.plan.fuse_wgrad:
            weight.grad = gradient if weight.grad is None else weight.grad.add_(gradient)
