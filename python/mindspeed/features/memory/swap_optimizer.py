# SPDX-License-Identifier: Apache-2.0
"""fp32 main parameters and the states of Adam are in the memory of the host, and come to the device in slices.

While a slice is updated, the next one is on its way in and the one before on its way out, on streams of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from mindspeed.adaptor import Conflict, Feature, Flag, Level, Need, session
from mindspeed.features.memory import _main_params
from mindspeed.features.memory._sliced_step import Piece, Store


def _pinned(like: torch.Tensor) -> torch.Tensor:
    return torch.empty(like.shape, dtype=like.dtype, pin_memory=True)


class Host(Store):
    """Keeps main parameters, and makes the inner optimizer keep its states, in pinned memory."""

    loads_ahead = True

    def __init__(self) -> None:
        self._mains: dict[int, torch.Tensor] = {}
        self._in, self._out = torch.npu.Stream(), torch.npu.Stream()
        self._loaded: dict[int, Any] = {}  # event by first piece
        self._leaving: tuple[Any, list[torch.Tensor]] | None = None

    def adopt(self, main: torch.Tensor, pieces: Sequence[Piece]) -> None:
        if id(main) not in self._mains:
            self._mains[id(main)] = _pinned(main)
        self._mains[id(main)].copy_(main)

    def read(self, main: torch.Tensor, pieces: Sequence[Piece]) -> torch.Tensor:
        self._in.wait_stream(torch.npu.current_stream())
        torch.npu.synchronize()  # what leaves has arrived
        return self._mains[id(main)].to(main.device)

    def settle(self, state: Any) -> None:
        """States that a checkpoint, or Megatron for one, has made on the device."""
        for states in state.values():
            for name, tensor in states.items():
                if isinstance(tensor, torch.Tensor) and tensor.ndim > 0 and not tensor.is_cpu:
                    states[name] = _pinned(tensor).copy_(tensor)

    def load(self, pieces: Sequence[Piece], state: Any) -> None:
        """Memory is taken on the current stream; what it was used for before is over when copies begin."""
        copies = []

        def bring(host: torch.Tensor) -> torch.Tensor:
            copies.append((torch.empty(host.shape, dtype=host.dtype, device=pieces[0].main.device), host))
            return copies[-1][0]

        for piece in pieces:
            whole = self._mains.get(id(piece.main))
            piece.values = piece.of(piece.main) if whole is None else bring(piece.of(whole))
            if piece.has_state:
                piece.state = {name: bring(piece.of(whole)) for name, whole in state[piece.main].items()}
        self._in.wait_stream(torch.npu.current_stream())
        with torch.npu.stream(self._in):
            for device, host in copies:
                device.copy_(host, non_blocking=True)
            self._loaded[id(pieces[0])] = self._in.record_event()

    def wait(self, pieces: Sequence[Piece]) -> None:
        torch.npu.current_stream().wait_event(self._loaded.pop(id(pieces[0])))

    def save(self, pieces: Sequence[Piece], state: Any) -> None:
        copies = []
        for piece in pieces:
            assert piece.values is not None
            if piece.model is not None:
                piece.of_model.copy_(piece.values)
                copies.append((piece.of(self._mains[id(piece.main)]), piece.values))
            whole = state[piece.main]
            for name, part in piece.state.items():
                if name not in whole:
                    whole[name] = torch.empty(piece.main.shape, dtype=part.dtype, pin_memory=True)
                copies.append((piece.of(whole[name]), part))
        self._out.wait_stream(torch.npu.current_stream())
        with torch.npu.stream(self._out):
            for host, device in copies:
                host.copy_(device, non_blocking=True)
            event = self._out.record_event()
        self.finish()
        self._leaving = event, [device for _, device in copies]

    def finish(self) -> None:
        """Give back the memory of what has left; the next that uses it comes later on the current stream."""
        if self._leaving is not None:
            torch.npu.current_stream().wait_event(self._leaving[0])
            self._leaving = None


def make() -> tuple[Store, int]:
    return Host(), session.current_arguments().swap_optimizer_times


def check(args: Any) -> Iterator[str]:
    yield from _main_params.unsupported(args)
    if args.swap_optimizer_times < 1:
        yield f"--swap-optimizer-times is {args.swap_optimizer_times}, wanted 1 or more"


FEATURE = Feature(
    name="swap-optimizer",
    level=Level.ACCELERATION,
    flags=(
        Flag(
            "--swap-optimizer",
            "Keep fp32 main parameters and states of the optimizer in the memory of the host.",
        ),
        Flag(
            "--swap-optimizer-times",
            "In how many slices they come to the device for a step.",
            type=int,
            default=16,
        ),
    ),
    conflicts=(
        Conflict(feature="reuse-fp32-param", why="both decide where the fp32 main parameters are"),
        Conflict(
            feature="optimizer-selection",
            why="averages begin as the main parameters, which are away between steps",
        ),
    ),
    needs=(Need(flag="--use-distributed-optimizer", why="it swaps the shards of that optimizer"),),
    check=check,
    patches=_main_params.patches(make, plain=False),
)
