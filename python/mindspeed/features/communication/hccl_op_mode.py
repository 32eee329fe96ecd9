# SPDX-License-Identifier: Apache-2.0
"""Groups of ranks whose collectives are expanded elsewhere than the others': on the host, on the AI CPU or on vector cores.

The number goes to HCCL with the group. On virtual NPUs collectives are the host's own, and every mode computes the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mindspeed.adaptor import Feature, Flag, Level
from mindspeed.adaptor.session import current_arguments
from mindspeed.features.communication._group_options import Numbers, with_option

OPTION = "hccl_op_expansion_mode"
MODES = Numbers(0, 4, "GROUP:MODE, as tp:3;ep:2")


def check(args: Any) -> Iterator[str]:
    for problem in MODES.parse(args.hccl_op_mode)[1]:
        yield f"--hccl-op-mode {problem}"


FEATURE = Feature(
    name="hccl-op-mode",
    level=Level.ACCELERATION,
    flags=(
        Flag(
            "--hccl-op-mode",
            "Where collectives of some groups are expanded, as tp:3;ep:2; the others as HCCL_OP_EXPANSION_MODE says.",
            type=str,
            metavar="GROUP:MODE;...",
        ),
    ),
    check=check,
    patches=with_option(OPTION, lambda: MODES.parse(current_arguments().hccl_op_mode)[0]),
)
