# SPDX-License-Identifier: Apache-2.0
"""Which rank computes which block of attention in which round, by libmindspeed_adaptor (src/small/mindspeed_adaptor)."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mindspeed.adaptor.native import function


@dataclass(frozen=True, slots=True)
class Block:
    """What the queries of one rank see of the keys of another, and who computes it: one of the two."""

    queries: int
    keys: int
    at: int


Rounds = list[list[Block]]


def _blocks(row: Sequence[int], ranks: int) -> Iterator[Block]:
    for rank, block in enumerate(row):
        if block >= 0:
            yield Block(*divmod(block, ranks), rank)


def rounds_of(needed: bytes, ranks: int) -> Rounds:
    """`needed`: a byte for each block, of the first rank's queries first."""
    if len(needed) != ranks * ranks:
        raise ValueError(f"{len(needed)} blocks of {ranks} ranks, wanted {ranks * ranks}")
    table = (ctypes.c_int32 * (ranks * ranks))()
    plan = function("hc_attention_rounds", ctypes.c_char_p, ctypes.c_size_t, ctypes.POINTER(ctypes.c_int32))
    number = plan(needed, ranks, table)
    if number < 0:
        raise ValueError(f"--context-parallel-algo: no plan for {ranks} ranks, wanted 1 to 1024")
    return [list(_blocks(table[ranks * at : ranks * (at + 1)], ranks)) for at in range(number)]
