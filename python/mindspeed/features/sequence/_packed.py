# SPDX-License-Identifier: Apache-2.0
"""Where the tokens of packed sequences are that ranks share: of each sequence a rank has two chunks, the r-th and the r-th from
the end, one sequence behind the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mindspeed.features.fusion.flash_attention import ends


@dataclass(frozen=True, slots=True)
class Halves:
    """Of one rank: where its parts of sequences end, and which tokens are in the first and in the second chunk."""

    ends: list[int]
    first: Tensor
    second: Tensor


@dataclass(frozen=True, slots=True)
class Order:
    """Of tokens of all ranks, one rank behind the other: which is the n-th of the whole, and where each is there."""

    whole: Tensor
    parts: Tensor


def lengths(packed: Any, size: int) -> list[int]:
    """Of the parts of sequences on each of `size` ranks."""
    all_ends, of_keys = ends(packed)
    if all_ends != of_keys:
        raise NotImplementedError(
            "--context-parallel-algo: packed sequences whose keys have other lengths than their queries; leave it out"
        )
    found = [end - begin for begin, end in zip([0, *all_ends[:-1]], all_ends, strict=True)]
    for length in found:
        if length % (2 * size):
            raise ValueError(
                f"--context-parallel-algo: a packed sequence has {length} tokens, and {size} ranks share it in two chunks each: "
                f"pad it to a multiple of {2 * size}"
            )
    return [length // size for length in found]


def _once(packed: Any, key: tuple[str, int], make: Callable[[], Any]) -> Any:
    """For all layers of a batch."""
    kept = vars(packed).setdefault("_mindspeed_places", {})
    if key not in kept:
        kept[key] = make()
    return kept[key]


def halves(packed: Any, size: int, device: torch.device) -> Halves:
    def make() -> Halves:
        return halves_of(torch.tensor(lengths(packed, size)).cumsum(0), device)

    found: Halves = _once(packed, ("halves", size), make)
    return found


def halves_of(last: Tensor, device: torch.device) -> Halves:
    """`last`: where a rank's parts of sequences end, on the host."""
    parts = last.diff(prepend=last.new_zeros(1))
    position = torch.arange(int(last[-1]))
    sequence = torch.searchsorted(last, position, right=True)
    is_second = position - (last - parts)[sequence] >= (parts // 2)[sequence]
    first, second = (position[chosen].to(device) for chosen in (~is_second, is_second))
    return Halves(last.tolist(), first, second)


def order(packed: Any, size: int, exchanging: int, device: torch.device) -> Order:
    """Of the ranks that exchange heads, among `size` that share the sequences."""

    def make() -> Order:
        parts = lengths(packed, size)
        tokens, begin = sum(parts), 0
        places: list[Tensor] = []
        for length in parts:
            half = length // 2
            chunk = torch.arange(half)
            starts = [rank * tokens + begin for rank in range(exchanging)]
            places += [start + chunk for start in starts]
            places += [start + half + chunk for start in reversed(starts)]
            begin += length
        whole = torch.cat(places)
        return Order(whole.to(device), whole.argsort().to(device))

    found: Order = _once(packed, (f"order of {exchanging}", size), make)
    return found
