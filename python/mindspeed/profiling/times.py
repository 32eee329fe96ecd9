# SPDX-License-Identifier: Apache-2.0
"""Stretches of time, and times as the vendor's files have them."""

from __future__ import annotations

from collections.abc import Iterable

Stretch = tuple[int, int]


def microseconds(ns: int) -> str:
    """Exact, where a float of today's calendar has steps of a quarter of a microsecond."""
    return f"{ns // 1000}.{ns % 1000:03d}"


def union(stretches: Iterable[Stretch]) -> list[Stretch]:
    """Sorted, none touching the next."""
    found: list[Stretch] = []
    for begin, end in sorted(stretches):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        elif end > begin:
            found.append((begin, end))
    return found


def without(stretches: list[Stretch], others: list[Stretch]) -> list[Stretch]:
    """What of the first the second does not cover; both as union() gives them."""
    left: list[Stretch] = []
    at = 0
    for begin, end in stretches:
        while at < len(others) and others[at][1] <= begin:
            at += 1
        for other_begin, other_end in others[at:]:
            if other_begin >= end:
                break
            if other_begin > begin:
                left.append((begin, other_begin))
            begin = max(begin, other_end)
        if begin < end:
            left.append((begin, end))
    return left
