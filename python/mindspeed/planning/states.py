# SPDX-License-Identifier: Apache-2.0
"""Weights, gradients, the optimizer's states and buffers: what is there from the first step on."""

from __future__ import annotations

from mindspeed.features.memory.reuse_fp32_param import SLICES
from mindspeed.planning.parameters import Count
from mindspeed.planning.shape import FP32, Shape, value_of

MIB = 2**20
TRIANGLE = 2048 * 2048  # bytes of the mask that flash attention's causal mode wants, whatever the lengths are


def allocated(size: int) -> int:
    """Of one large block: the allocator rounds it to 2 MiB and cuts off what is left only if that is more than 1 MiB."""
    if size < 10 * MIB:
        return size
    rounded = -(-size // (2 * MIB)) * 2 * MIB
    return rounded if rounded - size <= MIB else size


def weights(shape: Shape, count: Count) -> int:
    """One tensor each; with the distributed optimizer all in one buffer."""
    size = count.total * shape.dtype
    return allocated(size) if value_of(shape.args, "use_distributed_optimizer", False) else size


def gradients(shape: Shape, count: Count) -> int:
    """One buffer."""
    return allocated(count.total * shape.main_grad)


def optimizer(shape: Shape, count: Count) -> int:
    """Adam's two moments in fp32, and the fp32 parameters of a 16-bit model."""
    if "swap-optimizer" in shape.features:
        return 0  # in the host's memory
    each = 2 * FP32
    if shape.dtype != FP32:
        each += FP32 // 2 if "reuse-fp32-param" in shape.features else FP32
    return _own(shape, count) * each


def step(shape: Shape, count: Count) -> int:
    """What a step needs while it runs."""
    own = _own(shape, count)
    if "swap-optimizer" in shape.features:
        # Three slices: one that leaves, one that is updated, one that comes.
        return 3 * 3 * FP32 * own // int(value_of(shape.args, "swap_optimizer_times", 16))
    if "reuse-fp32-param" in shape.features:
        # Of a slice the fp32 parameters, and room for the places (int64) of numbers between two bf16 ones.
        return (FP32 + 8 + 1) * own // SLICES
    return 0


def buffers(shape: Shape) -> int:
    """Shared by all layers: a mask, or the products that become scores; tables of rotary positions."""
    total = shape.scores * shape.dtype
    if shape.is_flash:
        total = TRIANGLE if _needs_triangle(shape) else 0
    if shape.has_rope:
        total += 3 * shape.sequence * shape.cp * shape.channels * FP32
    return total


def _needs_triangle(shape: Shape) -> bool:
    """A mask is given to the pipeline's first and last chunk, and is not looked at by Transformer Engine's attention or a ring."""
    if not (shape.is_local and shape.has_mask) or shape.pp * shape.vp > 2:
        return True
    told = value_of(shape.args, "attention_mask_type", "general")
    return "context-parallel-algo" in shape.features and told == "causal"


def _own(shape: Shape, count: Count) -> int:
    """Parameters that this rank's optimizer updates; of the rank with the largest part."""
    if not value_of(shape.args, "use_distributed_optimizer", False):
        return count.total
    return -(-count.dense // shape.dp) + -(-count.expert // shape.expert_dp)
