# SPDX-License-Identifier: Apache-2.0
"""With sequence parallelism a linear layer's product and the gather or the scatter next to it are one operator.

Megatron's layers compute by the products that the stand-in of Transformer Engine has, and both by fused operators: forward
gather and product (column), product and scatter (row), backward the same the other way round.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mindspeed.adaptor import Feature, Flag, Level, Need, Patch
from mindspeed.features.communication import _linears
from mindspeed.ops.parallel_linear import Plan

RANKS = (2, 4, 8, 16, 32)  # what the operators of torch_npu take


def fuses(plan: Plan) -> bool:
    """Every plan that gathers or scatters."""
    return plan.size in RANKS and (plan.gathers or plan.scatters)


def check(args: Any) -> Iterator[str]:
    size = getattr(args, "tensor_model_parallel_size", 1) or 1
    if size not in RANKS:
        yield (
            f"--tensor-model-parallel-size is {size}; the fused operators are for {', '.join(map(str, RANKS))} ranks: "
            "give one of these, or leave the flag out"
        )


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
    patches=(*_linears.patches(fuses), Patch("mindspeed.ops.parallel_linear:fuses", fuses)),
)
