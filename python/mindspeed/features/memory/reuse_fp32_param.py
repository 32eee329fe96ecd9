# SPDX-License-Identifier: Apache-2.0
"""bf16 parameters are the high half of their fp32 main parameters; of these only the low half is kept beside.

With x the bits of an fp32 number, x + 0x8000 has in its high half what rounding to bf16 gives, and loses nothing. The one
exception are numbers midway between two bf16 ones whose nearest even one is the lower: one of 131072. Where these
are is kept as well, so that the bf16 parameters are those that a conversion gives, and the fp32 parameters come back
exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from mindspeed.adaptor import Conflict, Feature, Flag, Level, Need
from mindspeed.features.memory import _main_params
from mindspeed.features.memory._sliced_step import Piece, Store

HALF = 0x8000  # half a unit of the last place of bf16, in the bits of fp32
UNIT = 0x10000
SLICES = 16  # what a step has on the device in addition: 4 bytes of every 16th parameter


class Halves(Store):
    """Keeps low halves; the high ones are the model's parameters. States stay as they are."""

    def __init__(self) -> None:
        self._low: dict[int, torch.Tensor] = {}  # by main parameter
        self._ties: dict[int, torch.Tensor | None] = {}  # by piece: where the lower neighbour was taken

    def adopt(self, main: torch.Tensor, pieces: Sequence[Piece]) -> None:
        if id(main) not in self._low:
            self._low[id(main)] = torch.empty(main.numel(), dtype=torch.int16, device=main.device)
        for piece in pieces:
            self._split(piece, piece.of(main).clone())

    def load(self, pieces: Sequence[Piece], state: Any) -> None:
        for piece in pieces:
            piece.values = piece.of(piece.main) if piece.model is None else self._joined(piece)
            if piece.has_state:
                piece.state = {name: piece.of(whole) for name, whole in state[piece.main].items()}

    def save(self, pieces: Sequence[Piece], state: Any) -> None:
        for piece in pieces:
            if piece.model is not None:
                assert piece.values is not None
                self._split(piece, piece.values)
            if not piece.has_state:
                self._start(piece, state)

    def read(self, main: torch.Tensor, pieces: Sequence[Piece]) -> torch.Tensor:
        return torch.cat([self._joined(piece) for piece in pieces])

    @staticmethod
    def _start(piece: Piece, state: Any) -> None:
        """Put the state that the first step has made of a piece into one of the whole parameter."""
        for name, part in piece.state.items():
            whole = state[piece.main]
            if name not in whole:
                whole[name] = torch.empty(piece.main.shape, dtype=part.dtype, device=part.device)
            piece.of(whole[name]).copy_(part)

    def _split(self, piece: Piece, values: torch.Tensor) -> None:
        """`values` are overwritten."""
        bits = values.view(torch.int32)
        bits += HALF
        ties = ((bits & (2 * UNIT - 1)) == UNIT).nonzero().view(-1)
        # A copy: the operator's result lies in memory for as many as there might have been.
        self._ties[id(piece)] = ties.clone() if ties.numel() > 0 else None
        if ties.numel() > 0:
            bits[ties] -= UNIT
        low, high = bits.view(torch.int16).view(-1, 2).unbind(1)
        piece.of(self._low[id(piece.main)]).copy_(low)
        piece.of_model.view(torch.int16).copy_(high)

    def _joined(self, piece: Piece) -> torch.Tensor:
        bits = torch.empty(piece.numel, dtype=torch.int32, device=piece.main.device)
        low, high = bits.view(torch.int16).view(-1, 2).unbind(1)
        low.copy_(piece.of(self._low[id(piece.main)]))
        high.copy_(piece.of_model.view(torch.int16))
        ties = self._ties[id(piece)]
        if ties is not None:
            bits[ties] += UNIT
        bits -= HALF
        return bits.view(torch.float32)


FEATURE = Feature(
    name="reuse-fp32-param",
    level=Level.ACCELERATION,
    flags=(
        Flag(
            "--reuse-fp32-param",
            "Keep of fp32 main parameters only what the bf16 parameters do not have of them.",
        ),
    ),
    conflicts=(
        Conflict(feature="swap-optimizer", why="both decide where the fp32 main parameters are"),
        Conflict(
            feature="optimizer-selection", why="it averages the main parameters, which are in halves here"
        ),
    ),
    needs=(Need(flag="--bf16", why="the high half of an fp32 number is a bf16 number"),),
    check=_main_params.unsupported,
    patches=_main_params.patches(lambda: (Halves(), SLICES), plain=True),
)
