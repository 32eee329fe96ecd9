# SPDX-License-Identifier: Apache-2.0
"""Products of tensor-parallel linear layers are cut: the collective of one part is on its way while another is computed.

Column layers gather their input and row layers sum or scatter their output, with sequence parallelism the other way round
in the backward pass. Megatron does one after the other; here a product has --coc-parallel-num parts, each with a collective
that waits for nothing but its own part. --coc-fused-kernel takes the device's operators that contain the collective.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mindspeed.adaptor import Conflict, Feature, Flag, Level, Need, Patch
from mindspeed.adaptor.session import current_arguments
from mindspeed.features.communication import _linears
from mindspeed.features.communication.ascend_mc2 import RANKS
from mindspeed.ops.parallel_linear import Plan

BY_NUMBER, AS_MEGATRON, WHOLE, CUT = -1, 0, 1, 2


def takes(plan: Plan) -> bool:
    """Every product that has a collective beside it."""
    args = current_arguments()
    has_one = plan.gathers or plan.scatters or plan.sums
    return has_one and (args.coc_fused_kernel or args.coc_mode != AS_MEGATRON)


def fuses(plan: Plan) -> bool:
    return bool(current_arguments().coc_fused_kernel) and takes(plan)


def parts(plan: Plan) -> int:
    args = current_arguments()
    is_cut = takes(plan) and args.coc_mode != WHOLE
    return int(args.coc_parallel_num) if is_cut else 1


def tensor_parallel(args: Any) -> int:
    return getattr(args, "tensor_model_parallel_size", 1) or 1


def check(args: Any) -> Iterator[str]:
    if args.coc_parallel_num < 1:
        yield f"--coc-parallel-num is {args.coc_parallel_num}, wanted 1 or more"
    elif args.coc_mode in (BY_NUMBER, CUT) and args.coc_parallel_num == 1 and not args.coc_fused_kernel:
        yield (
            "--coc-parallel-num 1 cuts nothing; give 2 or more, or --coc-mode 1 (products are whole) or 0 (Megatron's own), "
            "or leave out --use-ascend-coc"
        )
    size = tensor_parallel(args)
    if args.coc_fused_kernel and size > 1 and size not in RANKS:
        yield (
            f"--tensor-model-parallel-size is {size}; the operators of --coc-fused-kernel are for "
            f"{', '.join(map(str, RANKS))} ranks: give one of these, or leave out --coc-fused-kernel"
        )


FEATURE = Feature(
    name="ascend-coc",
    level=Level.ACCELERATION,
    flags=(
        Flag(
            "--use-ascend-coc",
            "Products of tensor-parallel linear layers are cut; collectives of parts go on while others are computed.",
        ),
        Flag("--coc-parallel-num", "In how many parts.", type=int, default=1),
        Flag(
            "--coc-mode",
            "2: cut into --coc-parallel-num parts; 1: whole; 0: Megatron's own products; -1: 2 if there are parts.",
            type=int,
            default=BY_NUMBER,
            choices=(BY_NUMBER, AS_MEGATRON, WHOLE, CUT),
        ),
        Flag("--coc-fused-kernel", "Operators that contain the collective instead of parts."),
    ),
    conflicts=(Conflict(feature="ascend-mc2", why="both compute the products of linear layers"),),
    needs=(
        Need(
            flag="--tensor-model-parallel-size 2",
            why="one rank alone sends nothing",
            holds=lambda args: tensor_parallel(args) > 1,
        ),
    ),
    check=check,
    patches=(
        *_linears.patches(takes),
        Patch("mindspeed.ops.parallel_linear:fuses", fuses),
        Patch("mindspeed.ops.parallel_linear:parts", parts),
    ),
)
