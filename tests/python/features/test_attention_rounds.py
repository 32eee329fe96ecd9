# SPDX-License-Identifier: Apache-2.0
"""Blocks of attention are dealt out to ranks as evenly as they can be (libmindspeed_adaptor)."""

from __future__ import annotations

import itertools
import random

import pytest
from mindspeed.features.sequence._rounds import rounds_of


def fewest_rounds(needed: list[bool], ranks: int) -> int:
    """By trying all places."""
    loads = [0] * ranks
    free = []
    for block, is_needed in enumerate(needed):
        queries, keys = divmod(block, ranks)
        if is_needed and queries == keys:
            loads[queries] += 1
        elif is_needed:
            free.append((queries, keys))
    best = len(needed)
    for places in itertools.product((0, 1), repeat=len(free)):
        tried = list(loads)
        for pair, place in zip(free, places, strict=True):
            tried[pair[place]] += 1
        best = min(best, max(tried))
    return best


def check(needed: list[bool], ranks: int) -> int:
    rounds = rounds_of(bytes(needed), ranks)
    blocks = [block for blocks in rounds for block in blocks]
    assert sorted(b.queries * ranks + b.keys for b in blocks) == [
        n for n, is_needed in enumerate(needed) if is_needed
    ]
    assert all(b.at in (b.queries, b.keys) for b in blocks)
    for of_round in rounds:
        assert of_round and len({b.at for b in of_round}) == len(of_round)
    return len(rounds)


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_as_few_rounds_as_possible(ranks: int) -> None:
    generator = random.Random(ranks)
    for _ in range(40):
        needed = [generator.random() < generator.choice((0.2, 0.5, 0.8)) for _ in range(ranks * ranks)]
        assert check(needed, ranks) == fewest_rounds(needed, ranks)


@pytest.mark.parametrize("ranks", [8, 64, 256])
def test_many_ranks(ranks: int) -> None:
    generator = random.Random(ranks)
    assert check([True] * ranks**2, ranks) == ranks
    assert check([False] * ranks**2, ranks) == 0
    assert check([keys == 0 for _ in range(ranks) for keys in range(ranks)], ranks) <= 2
    needed = [generator.random() < 0.3 for _ in range(ranks**2)]
    assert check(needed, ranks) <= -(-sum(needed) // ranks) + 1


def test_numbers_that_are_refused() -> None:
    with pytest.raises(ValueError, match="3 blocks of 2 ranks, wanted 4"):
        rounds_of(bytes(3), 2)
    with pytest.raises(ValueError, match="no plan for 0 ranks"):
        rounds_of(b"", 0)
