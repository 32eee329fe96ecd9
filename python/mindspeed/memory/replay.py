# SPDX-License-Identifier: Apache-2.0
"""Plays a recording back: who holds what at each moment, and at the peak.

An allocation is of the module that was at work, by the markers around it. Where weights, gradients or states of an optimizer lie in
it, it is theirs: buffers that several modules share are divided. Needs no torch.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mindspeed.memory.records import KINDS, PHASES, Recording

#: What something is held as: what stays, by where it lies, and what comes and goes, by when it was asked for.
ACTIVATIONS, AGAIN, BACKWARD, STEP, OTHER = "activations", "recomputed", "backward", "step", "other"
AMOUNTS = (*KINDS, ACTIVATIONS, AGAIN, BACKWARD, STEP, OTHER)
_AMOUNT_OF = dict(zip(PHASES, (OTHER, ACTIVATIONS, AGAIN, BACKWARD, STEP), strict=True))
NO_MODULE = "(no module)"

Shares = Mapping[tuple[str, str], int]  # (module, one of AMOUNTS) -> bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """After which event; microseconds from the first marker on; step of the optimizer, from 1 on; held by whom as what."""

    event: int
    microseconds: int
    step: int
    phase: str
    module: str
    held: Shares

    @property
    def total(self) -> int:
        return sum(self.held.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """moments  of equally many events (allocations and frees), each the one at which most was held.
    steps    with which event each step of the optimizer ended.
    """

    peak: Moment
    moments: Sequence[Moment]
    steps: Sequence[int]


@dataclass(frozen=True, slots=True)
class _Block:
    """An allocation, from its event to that of its free; `place` is its marker."""

    address: int
    size: int
    place: int
    shares: Mapping[tuple[str, str], int]


class _Player:
    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._starts = [marker[0] for marker in recording.markers]
        self._labels = self._labelled()

    def _place(self, allocation: int) -> int:
        """The marker that an allocation comes after; its number counts from 0 on."""
        return max(bisect.bisect_right(self._starts, allocation) - 1, 0)

    def _labelled(self) -> dict[int, list[tuple[int, int, int, int]]]:
        """Of allocations, by number, the regions that were seen in them."""
        by_look: dict[int, list[tuple[int, int, int, int]]] = {}
        for address, size, kind, module, after in self._recording.regions:
            by_look.setdefault(after, []).append((address, size, kind, module))
        found: dict[int, list[tuple[int, int, int, int]]] = {}
        alive: dict[int, tuple[int, int]] = {}
        count = 0
        for address, size in self._recording.events:
            if size < 0:
                alive.pop(address, None)
                continue
            alive[address] = count, size
            count += 1
            if count in by_look:  # at once: what is freed behind it was there
                _look(alive, by_look[count], found)
        return found

    def shares_of(self, number: int, address: int, size: int) -> tuple[int, Mapping[tuple[str, str], int]]:
        place = self._place(number)
        _, _, phase, module = self._recording.markers[place]
        names = self._recording.modules
        regions = self._labels.get(number, [])
        if not regions:
            return place, {(names[module] or NO_MODULE, _AMOUNT_OF[PHASES[phase]]): size}
        shares: Counter[tuple[str, str]] = Counter()
        end = address
        for begin, length, kind, owner in sorted(regions):
            part = min(begin + length, address + size) - max(begin, end)
            if part > 0:
                shares[names[owner] or NO_MODULE, KINDS[kind]] += part
                end = max(end, begin + length)
        rest = size - sum(shares.values())
        if rest > 0:  # between them, by alignment: as most of it
            shares[NO_MODULE, max(shares, key=lambda key: shares[key])[1] if shares else OTHER] += rest
        return place, shares

    def blocks(self) -> Iterator[tuple[_Block, int]]:
        """(block, +1 or -1) in order."""
        alive: dict[int, _Block] = {}
        count = 0
        for address, size in self._recording.events:
            if size < 0:
                block = alive.pop(address, None)
                if block is not None:  # else from before the recording
                    yield block, -1
                continue
            alive[address] = block = _Block(address, size, *self.shares_of(count, address, size))
            count += 1
            yield block, 1


def _look(
    alive: Mapping[int, tuple[int, int]],
    regions: Sequence[tuple[int, int, int, int]],
    found: dict[int, list[tuple[int, int, int, int]]],
) -> None:
    starts = sorted(alive)
    fresh: dict[int, list[tuple[int, int, int, int]]] = {}
    for region in regions:
        index = bisect.bisect_right(starts, region[0]) - 1
        if index < 0:
            continue
        number, size = alive[starts[index]]
        if region[0] < starts[index] + size:
            fresh.setdefault(number, []).append(region)
    for number, parts in fresh.items():
        found.setdefault(number, parts)  # as it was seen first


def replay(recording: Recording, columns: int = 600) -> Timeline:
    """Twice: which moments are wanted, then what is held at them, as copying that at each event would take long."""
    player = _Player(recording)
    chosen, peak, steps = _chosen(player, recording, columns)
    held: Counter[tuple[str, str]] = Counter()
    moments: dict[int, Moment] = {}
    place = 0
    for number, (block, sign) in enumerate(player.blocks()):
        place = block.place if sign > 0 else place
        for key, size in block.shares.items():
            held[key] += sign * size
        if number in chosen:
            now = {key: size for key, size in held.items() if size}
            moments[number] = _moment(recording, number, place, bisect.bisect_left(steps, number) + 1, now)
    return Timeline(peak=moments[peak], moments=list(moments.values()), steps=steps)


def _chosen(player: _Player, recording: Recording, columns: int) -> tuple[set[int], int, list[int]]:
    """Of each stretch the event after which most is held, that of all, and the last event of each step."""
    width = max(len(recording.events) // columns, 1)
    best: dict[int, tuple[int, int]] = {}
    steps: list[int] = []
    total = count = 0
    for number, (block, sign) in enumerate(player.blocks()):
        count += sign > 0
        if sign > 0 and len(steps) < len(recording.steps) and count > recording.steps[len(steps)]:
            steps.append(number - 1)
        total += sign * block.size
        stretch = number // width
        if stretch not in best or total > best[stretch][0]:
            best[stretch] = total, number
    most = max(best.values(), key=lambda found: (found[0], -found[1]))[1]
    return {number for _, number in best.values()}, most, steps


def _moment(recording: Recording, number: int, place: int, step: int, held: Shares) -> Moment:
    _, now, phase, module = recording.markers[place]
    return Moment(
        event=number, microseconds=now - recording.markers[0][1], step=step, phase=PHASES[phase],
        module=recording.modules[module], held=held,
    )  # fmt: skip


def shortened(name: str, depth: int) -> str:
    """The first parts of a name: decoder.layers.0 of decoder.layers.0.mlp.linear_fc1."""
    return name if name == NO_MODULE else ".".join(name.split(".")[:depth])


def by_module(held: Shares, depth: int) -> dict[str, Counter[str]]:
    """Of modules of a depth, those with most first, what they hold as what; what has no module is last."""
    found: dict[str, Counter[str]] = {}
    for (module, amount), size in held.items():
        found.setdefault(shortened(module, depth), Counter())[amount] += size
    order = sorted(found, key=lambda name: (name == NO_MODULE, -found[name].total(), name))
    return {name: found[name] for name in order}
