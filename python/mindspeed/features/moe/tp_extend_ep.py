# SPDX-License-Identifier: Apache-2.0
"""Tensor-parallel ranks hold whole experts instead of a slice of each: experts are over tensor times expert parallel ranks.

Megatron has the groups for it, --expert-tensor-parallel-size 1 and more expert parallel ranks; the flag is the original's
name for the two. Products of small experts stay large, and no rank sums slices.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mindspeed.adaptor import Feature, Flag, Level, Need


def _number(args: Any, name: str) -> int:
    return getattr(args, name, None) or 1


def is_given_to_megatron(args: Any) -> bool:
    """By `adjust`, or by who gave --expert-tensor-parallel-size 1."""
    return getattr(args, "expert_tensor_parallel_size", None) == 1


def check(args: Any) -> Iterator[str]:
    given = getattr(args, "expert_tensor_parallel_size", None)
    if is_given_to_megatron(args):
        return
    tensor, expert = _number(args, "tensor_model_parallel_size"), _number(args, "expert_model_parallel_size")
    if given not in (None, tensor):
        yield (
            f"--expert-tensor-parallel-size {given} cuts experts, which are whole here; leave it out, or leave out "
            "--moe-tp-extend-ep"
        )
    experts = getattr(args, "num_experts", None)
    if experts is not None and experts % (tensor * expert):
        yield (
            f"{experts} experts cannot be shared by --tensor-model-parallel-size {tensor} x --expert-model-parallel-size "
            f"{expert} ranks; give a multiple of {tensor * expert}"
        )
    if getattr(args, "moe_token_dispatcher_type", "allgather") not in ("alltoall", "alltoall_seq"):
        yield (
            f"--moe-token-dispatcher-type {args.moe_token_dispatcher_type} gathers tokens for slices of experts; give alltoall or "
            "alltoall_seq, or leave out --moe-tp-extend-ep"
        )


def adjust(args: Any) -> None:
    if is_given_to_megatron(args):
        return
    args.expert_model_parallel_size = _number(args, "expert_model_parallel_size") * _number(
        args, "tensor_model_parallel_size"
    )
    args.expert_tensor_parallel_size = 1
    # alltoall_seq is only for experts that are cut as the other layers are; alltoall computes the same.
    args.moe_token_dispatcher_type = "alltoall"


FEATURE = Feature(
    name="moe-tp-extend-ep",
    level=Level.ACCELERATION,
    flags=(
        Flag(
            "--moe-tp-extend-ep",
            "Whole experts on --tensor-model-parallel-size times --expert-model-parallel-size ranks.",
        ),
    ),
    needs=(
        Need(flag="--num-experts", why="there are no experts to be shared otherwise"),
        Need(flag="--moe-grouped-gemm", why="it is for products of all experts of a rank"),
    ),
    check=check,
    adjust=adjust,
)
