# SPDX-License-Identifier: Apache-2.0
"""--aiqos is refused: it sets priorities of messages on a switch between NPUs, and there is none.

The flags are known, so that a command line with them is told why and what to do, and none of them is taken without effect.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mindspeed.adaptor import Feature, Flag, Level

_FLAGS = (
    Flag("--aiqos", "Refused: there is no switch whose priorities could be set.", in_config=False),
    Flag(
        "--aiqos-mode",
        "Of --aiqos.",
        type=str,
        default="auto",
        choices=("auto", "manual"),
        in_config=False,
    ),
    Flag("--aiqos-schedule", "Of --aiqos.", type=str, default=None, in_config=False),
    Flag("--aiqos-enable-roce", "Of --aiqos.", in_config=False),
)


def check(args: Any) -> Iterator[str]:
    """Always a sentence: the feature is on when one of its flags is given."""
    given = [flag.name for flag in _FLAGS if flag.is_given(args)]
    yield (
        "it sets priorities of messages on the switch between NPUs (UB), and collectives here pass none; leave out "
        + ", ".join(given[:1] if "--aiqos" in given else given)
    )


FEATURE = Feature(
    name="aiqos",
    level=Level.ACCELERATION,
    flags=_FLAGS,
    switch=lambda args: any(flag.is_given(args) for flag in _FLAGS),
    check=check,
)
