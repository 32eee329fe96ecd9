# SPDX-License-Identifier: Apache-2.0
"""Adam's two averages are compressed without loss between steps; a piece of a parameter at a time is whole for its update.

The byte with the exponent is coded (npu_hans_encode), the other three stay as they are. Of the code half a byte for an element of
the first average and three eighths for one of the second are on the device; what is longer is in memory of the host that the
device reads and writes where it is.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch_npu

from mindspeed.adaptor import Conflict, Feature, Flag, Level, Patch
from mindspeed.features.memory._compressed import GROUP, LEAST, META
from mindspeed.features.optimizer import _sliced_adam
from mindspeed.features.optimizer._sliced_adam import Kept, SlicedAdam

PIECE = 1 << 20  # elements that are whole at a time, to twice as many
PLANES = {
    "exp_avg": 4,
    "exp_avg_sq": 3,
}  # bits of an element's code on the device; squares are nearer to each other
# When frequencies of bytes are counted anew: they change quickly at first.
_FIRST, _EVERY = 3, 100
_ITEM = 4


class Piece:
    """Memory for one call of the operators. Without any, it is zeros."""

    def __init__(self, numel: int, planes: int, device: torch.device) -> None:
        self._numel, self._planes, self._device = numel, planes, device
        self._writes = 0
        self._memory: tuple[torch.Tensor, ...] = ()

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in self._memory[:3])

    def _new(self) -> tuple[torch.Tensor, ...]:
        """Frequencies, bytes that are not coded, the code as far as there is room, the rest of it."""
        on_device = META + self._numel // GROUP + self._numel * self._planes // 8
        rest = self._numel - self._numel * self._planes // 8
        return (
            torch.empty(1, 256, dtype=torch.int32, device=self._device),
            torch.empty(self._numel * (_ITEM - 1) // _ITEM, device=self._device),
            torch.empty(-(-on_device // _ITEM), device=self._device),
            torch_npu.empty_with_swapped_memory(
                torch.Size((-(-rest // _ITEM),)), dtype=torch.float32, device=self._device
            ),
        )

    def write(self, values: torch.Tensor) -> None:
        self._memory = self._memory or self._new()
        counts = self._writes < _FIRST or self._writes % _EVERY == 0
        torch_npu.npu_hans_encode(values, counts, False, out=self._memory)
        self._writes += 1

    def read(self) -> torch.Tensor:
        if not self._memory:
            return torch.zeros(self._numel, device=self._device)
        pdf, mantissa, fixed, rest = self._memory
        whole = torch.empty(self._numel, device=self._device)
        return torch_npu.npu_hans_decode(mantissa, fixed, rest, pdf, False, out=whole)


class Compressed(Kept):
    """An average in pieces; up to GROUP - 1 elements at its end are left as they are."""

    def __init__(self, name: str, like: torch.Tensor) -> None:
        super().__init__(like)
        numel = like.numel()
        whole = numel - numel % GROUP
        starts = [PIECE * number for number in range(max(whole // PIECE, 1))]
        self._cuts = list(zip(starts, [*starts[1:], whole], strict=True))
        self._pieces = {start: Piece(stop - start, PLANES[name], like.device) for start, stop in self._cuts}
        self._end = torch.zeros(numel - whole, device=like.device)
        if whole < numel:
            self._cuts.append((whole, numel))

    @property
    def nbytes(self) -> int:
        return int(self._end.nbytes) + sum(piece.nbytes for piece in self._pieces.values())

    def slices(self) -> Iterator[tuple[int, int]]:
        return iter(self._cuts)

    def read(self, start: int, stop: int) -> torch.Tensor:
        return self._pieces[start].read() if start in self._pieces else self._end

    def write(self, start: int, stop: int, values: torch.Tensor) -> None:
        if start in self._pieces:
            self._pieces[start].write(values)
        elif values is not self._end:
            self._end.copy_(values)


class CompressedAdam(SlicedAdam):
    def _keeps(self, parameter: torch.Tensor) -> bool:
        return parameter.numel() - parameter.numel() % GROUP >= LEAST

    def _kept(self, name: str, parameter: torch.Tensor) -> Kept:
        return Compressed(name, parameter)


FEATURE = Feature(
    name="compress-optimizer",
    level=Level.ACCELERATION,
    flags=(
        Flag("--compress-optimizer", "Compress Adam's averages without loss between steps.", in_config=False),
    ),
    conflicts=(
        *_sliced_adam.CONFLICTS,
        Conflict(feature="quant-states", why="both decide in which form the averages are"),
        Conflict(feature="quant-grads", why="both bring an Adam"),
    ),
    check=_sliced_adam.unsupported,
    patches=(Patch("megatron.core.optimizer:Adam", CompressedAdam), *_sliced_adam.STATES),
)
