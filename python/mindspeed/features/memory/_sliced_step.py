# SPDX-License-Identifier: Apache-2.0
"""An optimizer step slice by slice, for fp32 parameters that are whole on the device only while they are updated.

Megatron's optimizers of half-precision models hold an fp32 copy of every parameter (the main parameter). Here each such
tensor is left with its shape, and where its values are is the business of a Store. A step loads a slice of all elements,
lets the inner optimizer update it as if it were all there is, writes the model's parameters and gives the slice back. So
the inner optimizer may be any that treats elements alike, such as Adam; the results are those of one step, bit for bit.

A tensor without its values reads as NaN and cannot be written: code that would use it by mistake is found out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

_OWNER = "_sliced_step"
# Slices begin at multiples of so many elements.
_ALIGNMENT = 64


@dataclass(slots=True, eq=False)
class Piece:
    """Elements `start` to `stop` of a main parameter.

    main   the tensor that Megatron and the inner optimizer know.
    model  the model's parameter, flat; None if that is what the optimizer updates itself, being fp32.
    """

    main: torch.Tensor
    model: torch.Tensor | None
    start: int
    stop: int
    values: torch.Tensor | None = None  # while loaded
    has_state: bool = False  # whether the inner optimizer had one when the step began
    state: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def numel(self) -> int:
        return self.stop - self.start

    def of(self, whole: torch.Tensor) -> torch.Tensor:
        return whole.view(-1)[self.start : self.stop]

    @property
    def of_model(self) -> torch.Tensor:
        assert self.model is not None
        return self.of(self.model)


class Store:
    """Where the values are between steps. `state` is the inner optimizer's, by parameter."""

    loads_ahead = False  # whether the next slice is loaded while one is updated

    def adopt(self, main: torch.Tensor, pieces: Sequence[Piece]) -> None:
        """Take the values of a parameter that has them."""
        raise NotImplementedError

    def load(self, pieces: Sequence[Piece], state: Any) -> None:
        """Set `values` and `state` of pieces; on another stream if wanted."""
        raise NotImplementedError

    def wait(self, pieces: Sequence[Piece]) -> None:
        """Let the current stream wait until they are loaded."""

    def save(self, pieces: Sequence[Piece], state: Any) -> None:
        """Keep what the pieces have and write the model's parameters; `values` and `state` are not used after."""
        raise NotImplementedError

    def finish(self) -> None:
        """A step is over."""

    def read(self, main: torch.Tensor, pieces: Sequence[Piece]) -> torch.Tensor:
        """A copy of the values of a whole parameter, on the device."""
        raise NotImplementedError

    def settle(self, state: Any) -> None:
        """Put states where they belong that somebody else has made."""


class SlicedStep:
    """Takes over the step of an inner optimizer and the values of its parameters."""

    def __init__(
        self, inner: Any, held: Iterable[tuple[torch.Tensor, torch.Tensor]], store: Store, slices: int
    ) -> None:
        self.inner = inner
        self.store = store
        models = {id(main): model for main, model in held}
        mains = [main for group in inner.param_groups for main in group["params"] if main.numel() > 0]
        self.slices = list(_cut(mains, models, slices))
        self._pieces: dict[int, list[Piece]] = {}
        for piece in (piece for pieces in self.slices for piece in pieces if piece.model is not None):
            self._pieces.setdefault(id(piece.main), []).append(piece)
        self._nan = torch.full((1,), float("nan"), device=mains[0].device) if mains else None
        with torch.no_grad():
            for pieces in self._pieces.values():
                self._adopt(pieces[0].main)
                setattr(pieces[0].main, _OWNER, self)
        inner.step = self.step

    def holds(self, main: torch.Tensor) -> bool:
        return id(main) in self._pieces

    def read(self, main: torch.Tensor) -> torch.Tensor:
        """A copy of the values, in the memory of the host."""
        if not self.holds(main):
            return main
        return self.store.read(main, self._pieces[id(main)]).view(main.shape).cpu()

    @contextlib.contextmanager
    def whole(self, mains: Iterable[torch.Tensor] | None = None) -> Iterator[None]:
        """These parameters (default: all) have their values here, and may be written."""
        wanted = self._pieces.keys() if mains is None else {id(main) for main in mains}
        taken = [pieces for key, pieces in self._pieces.items() if key in wanted]
        for pieces in taken:
            main = pieces[0].main
            main.data = self.store.read(main, pieces).view(main.shape)
        try:
            yield
        finally:
            with torch.no_grad():
                for pieces in taken:
                    self._adopt(pieces[0].main)

    def settle(self) -> None:
        self.store.settle(self.inner.state)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        if closure is not None:
            raise ValueError(
                "an optimizer step in slices evaluates no closure: it would do so once per slice"
            )
        self.settle()
        for piece in (piece for pieces in self.slices for piece in pieces):
            piece.has_state = bool(self.inner.state.get(piece.main))
        groups = self.inner.param_groups
        before = [(group["params"], group.get("step")) for group in groups]
        try:
            for number, pieces in enumerate(self.slices):
                self._load(number)
                if self.store.loads_ahead and number + 1 < len(self.slices):
                    self._load(number + 1)
                self.store.wait(pieces)
                self._update(pieces, before)
                self.store.save(pieces, self.inner.state)
                for piece in pieces:
                    piece.values, piece.state = None, {}
            self.store.finish()
        finally:
            for group, (parameters, _) in zip(groups, before, strict=True):
                group["params"] = parameters

    def _adopt(self, main: torch.Tensor) -> None:
        self.store.adopt(main, self._pieces[id(main)])
        assert self._nan is not None
        main.data = self._nan.expand(main.shape)

    def _load(self, number: int) -> None:
        pieces = self.slices[number]
        if any(piece.values is None for piece in pieces):
            self.store.load(pieces, self.inner.state)

    def _update(self, pieces: Sequence[Piece], before: Sequence[tuple[list[torch.Tensor], Any]]) -> None:
        """A step of the inner optimizer as if there were nothing else; every slice has the same number of the step."""
        by_main: dict[int, list[Piece]] = {}
        for piece in pieces:
            by_main.setdefault(id(piece.main), []).append(piece)
        for group, (parameters, step) in zip(self.inner.param_groups, before, strict=True):
            mine = [piece for main in parameters for piece in by_main.get(id(main), ())]
            group["params"] = [piece.values for piece in mine]
            if step is not None:
                group["step"] = step.clone() if isinstance(step, torch.Tensor) else step
            for piece in mine:
                assert piece.values is not None
                piece.values.grad = None if piece.main.grad is None else piece.of(piece.main.grad)
                if piece.state:
                    self.inner.state[piece.values] = piece.state
        type(self.inner).step(self.inner)
        for piece in pieces:
            piece.state = self._elementwise(piece, self.inner.state.pop(piece.values, {}))

    def _elementwise(self, piece: Piece, state: dict[str, Any]) -> dict[str, torch.Tensor]:
        for name, value in state.items():
            if not isinstance(value, torch.Tensor) or value.shape != (piece.numel,):
                raise TypeError(
                    f"{type(self.inner).__name__} keeps {name!r} per parameter; a step in slices needs an optimizer "
                    "whose state has an element for each of the parameter, such as Adam"
                )
        return state


def _cut(
    mains: Sequence[torch.Tensor], models: dict[int, torch.Tensor], slices: int
) -> Iterator[list[Piece]]:
    total = sum(main.numel() for main in mains)
    size = -(-total // (max(slices, 1) * _ALIGNMENT)) * _ALIGNMENT
    pieces: list[Piece] = []
    room = size
    for main in mains:
        start = 0
        while start < main.numel():
            stop = min(start + room, main.numel())
            pieces.append(Piece(main, models.get(id(main)), start, stop))
            room -= stop - start
            start = stop
            if room == 0:
                yield pieces
                pieces, room = [], size
    if pieces:
        yield pieces


def owner_of(main: Any) -> SlicedStep | None:
    return getattr(main, _OWNER, None)
