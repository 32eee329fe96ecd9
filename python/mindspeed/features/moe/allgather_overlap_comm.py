# SPDX-License-Identifier: Apache-2.0
"""Shared experts are computed while tokens are gathered for experts, gradients of weights while those of tokens are summed.

For the dispatcher allgather. A rank looks for its experts' tokens meanwhile as well (moe-permutation-async-comm).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mindspeed.adaptor import Feature, Flag, Level
from mindspeed.features.moe import _companion


def check(args: Any) -> Iterator[str]:
    kind = getattr(args, "moe_token_dispatcher_type", "allgather")
    if kind not in ("allgather",):
        yield (
            f"--moe-token-dispatcher-type is {kind}; give allgather, or leave out --moe-allgather-overlap-comm"
        )
    yield from _companion.problems(args, "--moe-allgather-overlap-comm")


FEATURE = Feature(
    name="moe-allgather-overlap-comm",
    level=Level.ACCELERATION,
    until="0.17",  # which has no experts by grouped_gemm any more
    flags=(Flag("--moe-allgather-overlap-comm", _companion.HELP),),
    needs=_companion.NEEDS,
    check=check,
    patches=_companion.PATCHES,
)
