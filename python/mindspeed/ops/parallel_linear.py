# SPDX-License-Identifier: Apache-2.0
"""y = x w^T over a tensor-parallel group, and its gradients.

column  w holds some of the outputs. With sequence parallelism x is this rank's part of the sequence: it is gathered
        forward and again backward (the part alone is kept), and dx is summed and scattered; without it dx is summed.
row     w holds some of the inputs: y is summed over the group, with sequence parallelism each rank keeps its part.
The products are those of Megatron's own layers, in the same order. Where fuses() says so, a product and the collective
next to it are one operator of the device; where parts() does, the product is cut, and parts are multiplied while others
are on their way. Gradients of a column's weight are computed while those of its input leave.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch_npu

from mindspeed.ops import later, product_parts
from mindspeed.ops._results import not_a_view
from mindspeed.ops.typed import typed


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a product is laid out. `delayed` takes closures that compute weight gradients later; `fused` and `cut` say of one
    layer what fuses() and parts() say of all."""

    mode: str | None = None
    group: Any = None
    size: int = 1
    sequence_parallel: bool = False
    fuse_wgrad: bool = False
    delayed: list[Callable[[], None]] | None = None
    fused: bool | None = None
    cut: int | None = None

    @property
    def is_fused(self) -> bool:
        return fuses(self) if self.fused is None else self.fused

    @property
    def pieces(self) -> int:
        return parts(self) if self.cut is None else self.cut

    @property
    def gathers(self) -> bool:
        return self.size > 1 and self.mode == "column" and self.sequence_parallel

    @property
    def scatters(self) -> bool:
        return self.size > 1 and self.mode == "row" and self.sequence_parallel

    @property
    def sums(self) -> bool:
        return self.size > 1 and self.mode == "row" and not self.sequence_parallel


def fuses(plan: Plan) -> bool:
    """Whether products of a plan contain its collective; features decide (ascend-mc2, ascend-coc)."""
    return False


def parts(plan: Plan) -> int:
    """In how many parts products of a plan are cut around its collective; a feature decides (ascend-coc)."""
    return 1


def gather(part: torch.Tensor, plan: Plan) -> torch.Tensor:
    """[s / ranks, ...] -> [s, ...]"""
    whole = part.new_empty((part.shape[0] * plan.size, *part.shape[1:]))
    torch.distributed.all_gather_into_tensor(whole, part.contiguous(), group=plan.group)
    return whole


def check_shared(length: int, plan: Plan) -> None:
    if length % plan.size:
        raise ValueError(f"sequence of {length} is not divisible by {plan.size} tensor-parallel ranks")


def accumulate_product(main_grad: torch.Tensor, grad: torch.Tensor, x: torch.Tensor) -> None:
    """main_grad += grad^T x: one operator, which sums in float32 and rounds to the accumulator's type once."""
    if x.numel():
        main_grad.addmm_(grad.t(), x)


def weight_gradient(
    weight: torch.Tensor, grad: torch.Tensor, x: torch.Tensor, fuse: bool
) -> torch.Tensor | None:
    """dw [out, in] from dy [n, out] and x [n, in]; fused, it goes into weight.main_grad."""
    return added_gradient(weight, grad, x) if fuse else grad.t().matmul(x).to(weight.dtype)


def added_gradient(weight: torch.Tensor, grad: torch.Tensor, x: torch.Tensor) -> torch.Tensor | None:
    """grad^T x into weight.main_grad."""
    return add_to_main_grad(weight, lambda main_grad: accumulate_product(main_grad, grad, x))


def add_to_main_grad(weight: torch.Tensor, add: Callable[[torch.Tensor], Any]) -> torch.Tensor | None:
    """The gradient goes into weight.main_grad; what comes back stands for it where a hook waits for one."""
    if hasattr(weight, "__fsdp_param__"):
        weight.main_grad = weight.get_main_grad()
    main_grad = getattr(weight, "main_grad", None)
    if main_grad is None:
        raise RuntimeError(
            "fuse_wgrad_accumulation adds to weight.main_grad, which this weight does not have: wrap the model in "
            "Megatron's DistributedDataParallel or pass --no-gradient-accumulation-fusion"
        )
    add(main_grad)
    if not hasattr(weight, "grad_added_to_main_grad"):
        return None
    # A hook that only fires with a gradient waits for it; the flag says that its value counts for nothing.
    weight.grad_added_to_main_grad = True
    make = torch.zeros_like if getattr(weight, "zero_out_wgrad", False) else torch.empty_like
    return make(weight, requires_grad=False)


def flatten(x: torch.Tensor) -> torch.Tensor:
    return x.reshape(-1, x.shape[-1])


def communicator(plan: Plan) -> str:
    """Its name: operators find it by that."""
    backend = plan.group._get_backend(torch.device("npu"))
    name: str = backend.get_hccl_comm_name(torch.distributed.get_rank())
    return name


def gathered_product(
    part: torch.Tensor, matrix: torch.Tensor, plan: Plan, keep: bool = False
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """gather(part) @ matrix, and gather(part) if it is to be kept."""
    if not plan.is_fused:
        return product_parts.gathered(part, matrix, plan.size, plan.group, plan.pieces, keep)
    shape = (part.shape[0] * plan.size, *part.shape[1:-1])
    product, whole = torch_npu.npu_all_gather_base_mm(
        flatten(part), matrix, communicator(plan), plan.size, gather_output=keep
    )
    return product.view(*shape, -1), whole.view(*shape, part.shape[-1]) if keep else None


def scattered_product(whole: torch.Tensor, matrix: torch.Tensor, plan: Plan) -> torch.Tensor:
    """[s, ...] of each rank -> the part [s / ranks, ...] of the sum of whole @ matrix"""
    check_shared(whole.shape[0], plan)
    if not plan.is_fused:
        return product_parts.scattered(whole, matrix, plan.size, plan.group, plan.pieces)
    part: torch.Tensor = torch_npu.npu_mm_reduce_scatter_base(
        flatten(whole), matrix, communicator(plan), plan.size
    )
    return part.view(whole.shape[0] // plan.size, *whole.shape[1:-1], matrix.shape[1])


def summed_product(x: torch.Tensor, matrix: torch.Tensor, plan: Plan) -> torch.Tensor:
    """The sum over the ranks of x @ matrix."""
    if not plan.is_fused:
        return product_parts.summed(x, matrix, plan.group, plan.pieces)
    total: torch.Tensor = torch_npu.npu_mm_all_reduce_base(x.contiguous(), matrix, communicator(plan))
    return total


def column_gradients(
    weight: torch.Tensor, grad: torch.Tensor, x: torch.Tensor, plan: Plan
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """With sequence parallelism: the input comes while its gradient is computed, which leaves while the weight's is."""
    whole, coming = product_parts.start_gather(x, plan.size, plan.group)
    product = grad.matmul(typed(weight, grad.dtype))
    coming.wait()
    grad_x = torch.empty_like(x, dtype=product.dtype)
    leaving = product_parts.start_scatter(product, grad_x, plan.group)
    grad_weight = weight_gradient(weight, flatten(grad), flatten(whole), plan.fuse_wgrad)
    leaving.wait()
    return grad_x, grad_weight


class Product(torch.autograd.Function):
    """x [..., in], w [out, in] -> y [..., out]"""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, plan: Plan) -> torch.Tensor:
        ctx.plan = plan
        ctx.weight = weight
        needs_weight = ctx.needs_input_grad[1]
        ctx.save_for_backward(x if needs_weight else None)
        matrix = weight.t().to(x.dtype)
        if plan.gathers:
            return not_a_view(gathered_product(x, matrix, plan)[0])
        if plan.scatters:
            return not_a_view(scattered_product(x, matrix, plan))
        if plan.sums:
            return summed_product(x, matrix, plan)
        return torch.matmul(x, matrix)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        plan, weight = ctx.plan, ctx.weight
        (x,) = ctx.saved_tensors
        needs_x, needs_weight = ctx.needs_input_grad[:2]
        grad_x = waiting = None
        at_once = plan.delayed is None and not later.can_wait(weight)
        if plan.gathers and needs_x and needs_weight and at_once and not plan.is_fused:
            return *column_gradients(weight, grad, x, plan), None
        if needs_x:
            matrix = typed(weight, grad.dtype)
            if plan.scatters:
                grad_x, whole = gathered_product(grad, matrix, plan, keep=needs_weight)
                grad = grad if whole is None else whole
            elif plan.gathers:
                grad_x = scattered_product(grad, matrix, plan)
            else:
                grad_x = grad.matmul(matrix)
                if plan.size > 1 and plan.mode == "column":
                    waiting = torch.distributed.all_reduce(grad_x, group=plan.group, async_op=True)
        elif plan.scatters:
            grad = gather(grad, plan)
        grad_weight = _weight_part(weight, grad, x, plan) if needs_weight else None
        if waiting is not None:
            waiting.wait()
        return grad_x, grad_weight, None


def _weight_part(
    weight: torch.Tensor, grad: torch.Tensor, x: torch.Tensor, plan: Plan
) -> torch.Tensor | None:
    """Now, or a promise."""

    def compute() -> torch.Tensor | None:
        whole = gather(x, plan) if plan.gathers else x
        return weight_gradient(weight, flatten(grad), flatten(whole), plan.fuse_wgrad)

    if plan.delayed is None:
        return later.gradient_of(weight, compute)

    def delayed() -> None:
        gradient = compute()
        if gradient is not None and not plan.fuse_wgrad:
            weight.grad = gradient if weight.grad is None else weight.grad.add_(gradient)

    plan.delayed.append(delayed)
    return None


def linear(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, plan: Plan, dtype: torch.dtype
) -> torch.Tensor:
    """With the bias added where every rank has its own part of the output."""
    y: torch.Tensor = Product.apply(x.to(dtype), weight, plan)
    return y if bias is None else y + typed(bias, y.dtype)


def compute_dtype(module_dtype: torch.dtype, x: torch.Tensor) -> torch.dtype:
    """Autocast decides if it is on; otherwise input and parameters must agree."""
    if torch.is_autocast_enabled(x.device.type):
        return torch.get_autocast_dtype(x.device.type)
    if x.dtype is not module_dtype:
        raise TypeError(
            f"input is {x.dtype}, parameters are {module_dtype}: outside autocast Transformer Engine's layers want the same"
        )
    return x.dtype
