# SPDX-License-Identifier: Apache-2.0
"""In a pipeline in the shape of a V gradients of weights are computed apart from those of inputs, while a rank would wait.

Other ranks wait for gradients of inputs alone. Without those of weights a backward pass is half as long, and the other half fills
what is left of the waiting: src/small/mindspeed_adaptor/pipeline_vee.c says when.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mindspeed.adaptor import Conflict, Feature, Flag, Level, Need, Patch
from mindspeed.ops import later
from mindspeed.ops.parallel_linear import Plan, add_to_main_grad, flatten, gather

_LINEAR = "megatron.core.tensor_parallel.layers:LinearWithGradAccumulationAndAsyncCommunication"


class _OfInput:
    """The context of a backward function for that of its two products whose result is the input's gradient.

    Megatron's function leaves the other one out where a buffer collects gradients of outputs, which it knows for output layers
    with fused accumulation. The weight is a tensor without marks, so that nobody is told of a gradient that is not there.
    """

    grad_output_buffer: list[Tensor]
    wgrad_deferral_limit, gradient_accumulation_fusion, use_bias = 0, True, False

    def __init__(self, ctx: Any) -> None:
        self._ctx = ctx
        self.grad_output_buffer = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ctx, name)

    @property
    def saved_tensors(self) -> tuple[Tensor, Tensor]:
        x, weight = self._ctx.saved_tensors
        return x, weight.detach()


def keeping(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Under hooks for saved tensors autograd hands out another weight than the parameter."""

    @functools.wraps(forward)
    def forward_keeping(ctx: Any, input: Tensor, weight: Tensor, *args: Any) -> Tensor:
        ctx.whose = weight
        return forward(ctx, input, weight, *args)

    return forward_keeping


def _whole(part: Tensor) -> Tensor:
    """Of the sequence, whose parts the tensor-parallel ranks have."""
    from megatron.core import parallel_state

    group = parallel_state.get_tensor_model_parallel_group()
    return gather(part, Plan(group=group, size=group.size()))


def _gradient(ctx: Any, x: Tensor, grad: Tensor) -> Tensor | None:
    """Of the weight, by the operators of Megatron's function."""
    rows = flatten(grad), flatten(_whole(x) if ctx.sequence_parallel else x)
    if not ctx.gradient_accumulation_fusion:
        return rows[0].t().matmul(rows[1])
    from megatron.core.tensor_parallel.layers import fused_weight_gradient_mlp_cuda as fused

    def add(main_grad: Tensor) -> None:
        wide = main_grad.dtype is torch.float32
        (fused.wgrad_gemm_accum_fp32 if wide else fused.wgrad_gemm_accum_fp16)(rows[1], rows[0], main_grad)

    return add_to_main_grad(ctx.whose, add)


def apart(backward: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(backward)
    def backward_apart(ctx: Any, grad_output: Tensor) -> Any:
        if not later.can_wait(ctx.whose):
            return backward(ctx, grad_output)
        of_x, _, _, *others = backward(_OfInput(ctx), grad_output)
        x = ctx.saved_tensors[0]
        of_weight = later.gradient_of(ctx.whose, lambda: _gradient(ctx, x, grad_output))
        return of_x, of_weight, flatten(grad_output).sum(dim=0) if ctx.use_bias else None, *others

    return backward_apart


_OWN = "it computes gradients of weights in its own order"
FEATURE = Feature(
    name="dualpipev-dw-detach",
    level=Level.ACCELERATION,
    until="0.13",  # as the schedule
    flags=(
        Flag(
            "--dualpipev-dw-detach",
            "With --schedules-method dualpipev: compute gradients of weights apart, while a rank would wait.",
            in_config=False,
        ),
    ),
    conflicts=(
        *(
            Conflict(feature=name, why=_OWN)
            for name in ("moe-alltoall-overlap-comm", "moe-allgather-overlap-comm")
        ),
        Conflict(feature="balanced-moe-experts", why="gradients of hot experts travel in the backward pass"),
        Conflict(feature="qat-scheme", why="gradients pass quantised weights in the backward pass"),
    ),
    needs=(
        Need(
            feature="schedules-method",
            flag="--schedules-method",
            why="only its passes leave gradients of weights for later",
        ),
    ),
    patches=(
        Patch(f"{_LINEAR}.forward", keeping, wraps=True),
        Patch(f"{_LINEAR}.backward", apart, wraps=True),
    ),
)
