# SPDX-License-Identifier: Apache-2.0
"""Shared experts are computed while tokens travel to their experts, gradients of weights while those of tokens travel back.

For the dispatchers alltoall and alltoall_seq. Tokens are sorted meanwhile as well (moe-permutation-async-comm).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mindspeed.adaptor import Feature, Flag, Level
from mindspeed.features.moe import _companion


def check(args: Any) -> Iterator[str]:
    kind = getattr(args, "moe_token_dispatcher_type", "allgather")
    if kind not in ("alltoall", "alltoall_seq"):
        yield (
            f"--moe-token-dispatcher-type is {kind}; give alltoall or alltoall_seq, or leave out --moe-alltoall-overlap-comm"
        )
    ranks = getattr(args, "expert_model_parallel_size", 1) or 1
    if getattr(args, "moe_tp_extend_ep", False):
        ranks *= getattr(args, "tensor_model_parallel_size", 1) or 1
    if ranks == 1:
        yield (
            "--expert-model-parallel-size is 1, so all tokens stay where they are; give 2 or more, or leave out "
            "--moe-alltoall-overlap-comm"
        )
    yield from _companion.problems(args, "--moe-alltoall-overlap-comm")


FEATURE = Feature(
    name="moe-alltoall-overlap-comm",
    level=Level.ACCELERATION,
    until="0.17",  # which has no experts by grouped_gemm any more
    flags=(Flag("--moe-alltoall-overlap-comm", _companion.HELP),),
    needs=_companion.NEEDS,
    check=check,
    patches=_companion.PATCHES,
)
