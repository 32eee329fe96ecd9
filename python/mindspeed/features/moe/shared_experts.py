# SPDX-License-Identifier: Apache-2.0
"""Shared experts by their number, for command lines of before Megatron had some: as wide as so many routed experts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from mindspeed.adaptor import Feature, Flag, Level, Need, Patch

_CONFIG = "megatron.core.transformer.transformer_config:TransformerConfig"
_WIDTH = "moe_shared_expert_intermediate_size"


def _width_of_mlp(args: Any) -> int:
    """As Megatron fills it in where nobody gives it."""
    given = getattr(args, "ffn_hidden_size", None)
    if given is not None:
        return int(given)
    if getattr(args, "swiglu", False):
        return int(4 * args.hidden_size * 2 / 3) // 64 * 64
    return int(4 * args.hidden_size)


def width(args: Any) -> int:
    """Of all shared experts together."""
    return int(args.n_shared_experts * (getattr(args, "moe_ffn_hidden_size", None) or _width_of_mlp(args)))


def check(args: Any) -> Iterator[str]:
    if args.n_shared_experts < 0:
        yield f"--n-shared-experts is {args.n_shared_experts}, wanted 1 or more"
    given = getattr(args, _WIDTH, None)
    if given is not None and given != width(args):
        yield (
            f"--moe-shared-expert-intermediate-size is {given}, and {args.n_shared_experts} experts are {width(args)} wide "
            "together; leave out one of the two"
        )


def adjust(args: Any) -> None:
    if getattr(args, _WIDTH, None) is None:
        setattr(args, _WIDTH, width(args))


def filling_in(post_init: Callable[[Any], None]) -> Callable[[Any], None]:
    """TransformerConfig.__post_init__, for programs that name the field."""

    def __post_init__(self: Any) -> None:
        if getattr(self, "n_shared_experts", None) and self.num_moe_experts is not None:
            adjust(self)
        post_init(self)

    return __post_init__


FEATURE = Feature(
    name="n-shared-experts",
    level=Level.COMPATIBILITY,
    flags=(
        Flag(
            "--n-shared-experts",
            "Experts for every token, each as wide as a routed one: --moe-shared-expert-intermediate-size by their number.",
            type=int,
            metavar="N",
        ),
    ),
    needs=(Need(flag="--num-experts", why="experts are shared beside routed ones"),),
    check=check,
    adjust=adjust,
    patches=(Patch(f"{_CONFIG}.__post_init__", filling_in, wraps=True),),
)
