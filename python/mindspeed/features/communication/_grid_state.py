# SPDX-License-Identifier: Apache-2.0
"""Where a rank's part of a parameter lies in the whole one, as Megatron's distributed checkpoints want it told."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Axis = tuple[int, int, int]  # which, this part's number, how many parts


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """`copy`: which of the ranks along x that have the same."""

    axes: tuple[Axis, ...]
    copy: int = 0


def placed(entry: Any, place: Place) -> Any:
    """A sharded tensor that Megatron took for the same on all tensor-parallel ranks."""
    from megatron.core.dist_checkpointing.mapping import ShardedTensor

    if not isinstance(entry, ShardedTensor):
        return entry
    numbers = {
        name: list(getattr(entry, name)) for name in ("global_shape", "global_offset", "axis_fragmentations")
    }
    for axis, number, parts in place.axes:
        at = entry.prepend_axis_num + axis
        numbers["global_shape"][at] = entry.local_shape[axis] * parts
        numbers["global_offset"][at] = entry.local_shape[axis] * number
        numbers["axis_fragmentations"][at] = parts
    replica = (0, place.copy, *entry.replica_id[2:])
    return dataclasses.replace(entry, replica_id=replica, **{name: tuple(of) for name, of in numbers.items()})


def pieces(entry: Any, numbers: Sequence[int], parts: int, columns: Axis | None, apart: bool) -> Any:
    """Of a gated layer: this rank has parts `numbers` of `parts`, each a gate and a value, and the whole has all gates
    first. `apart`: gates and values under keys of their own, a format of later releases."""
    from megatron.core.dist_checkpointing.mapping import ShardedTensorFactory

    total = parts if apart else 2 * parts
    own = []
    for number in numbers:
        for half, key in enumerate(("_w", "_v")):
            first = number if apart else number + half * parts
            axes = ((0, first, total),) if columns is None else ((0, first, total), columns)
            own.append((key if apart else "", Place(axes=axes)))
    shape = (entry.local_shape[0] // len(own), *entry.local_shape[1:])
    build = _Build(entry, own, shape)
    replica = (0, 0, *entry.replica_id[2:])
    return ShardedTensorFactory(
        entry.key, entry.data, build, torch.cat, replica, flattened_range=entry.flattened_range
    )


@dataclasses.dataclass(frozen=True, slots=True)
class _Build:
    """From a parameter, or a state of the optimizer that is like it, its pieces in the whole."""

    entry: Any
    own: list[tuple[str, Place]]
    shape: tuple[int, ...]

    def __call__(self, key: str, data: Tensor, replica: Any, flat: slice | None) -> list[Any]:
        cut = data.chunk(len(self.own)) if flat is None else [None] * len(self.own)
        found = []
        for at, ((ending, place), whole) in enumerate(zip(self.own, cut, strict=True)):
            part, within = (whole, None) if flat is None else self._stretch(data, at, flat)
            if part is not None:
                found.append(self._piece(key + ending, part, place, replica, within))
        return found

    def _stretch(self, data: Tensor, at: int, flat: slice) -> tuple[Tensor | None, slice | None]:
        """What a stretch of the flat parameter (the distributed optimizer's) has of the piece, and where there."""
        size = 1
        for length in self.shape:
            size *= length
        begin, end = max(flat.start, at * size), min(flat.stop, (at + 1) * size)
        if begin >= end:
            return None, None
        return data[begin - flat.start : end - flat.start], slice(begin - at * size, end - at * size)

    def _piece(self, key: str, data: Tensor, place: Place, replica: Any, within: slice | None) -> Any:
        like = dataclasses.replace(
            self.entry, key=key, data=data, dtype=data.dtype, local_shape=self.shape, flattened_range=within
        )
        return dataclasses.replace(placed(like, place), replica_id=replica)
