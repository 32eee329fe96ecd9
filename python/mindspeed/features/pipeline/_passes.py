# SPDX-License-Identifier: Apache-2.0
"""Which forward passes of an interleaved pipeline wait for their backward pass, and what of them is computed again before.

Recomputing needs no gradient. So when a stage is about to wait for the gradient of a pass, what that pass has to compute
again is computed first: while the next stage still works. Megatron's schedule runs as it is; it is followed through the
functions that it calls for each pass. The k-th backward pass is of the chunk V - 1 - c, where c is the chunk of the k-th
forward pass and V their number, and of each chunk the passes come in the same order.
"""

from __future__ import annotations

import contextlib
import functools
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from mindspeed.adaptor import Patch

_SCHEDULES = "megatron.core.pipeline_parallel.schedules"
_P2P = "megatron.core.pipeline_parallel.p2p_communication"
Function = Callable[..., Any]


def _is_last_stage() -> bool:
    from megatron.core import parallel_state

    return bool(parallel_state.is_pipeline_last_stage(ignore_virtual=True))


class _Piece:
    """A part of a forward pass that is computed again: from its inputs, with the random numbers of the first time."""

    def __init__(self, run: Function, inputs: tuple[Any, ...]) -> None:
        from megatron.core.tensor_parallel import random

        self._run, self._random = run, random
        self._inputs = [value.detach() if isinstance(value, Tensor) else value for value in inputs]
        self._states = random._get_all_rng_states()
        self._graph: tuple[list[Any], tuple[Any, ...]] | None = None

    def again(self) -> None:
        if self._graph is not None:
            return
        inputs = [
            value.detach().requires_grad_(value.is_floating_point()) if isinstance(value, Tensor) else value
            for value in self._inputs
        ]
        with self._random._fork_rng():
            self._random._set_all_rng_states(*self._states)
            with torch.enable_grad():
                outputs = self._run(*inputs)
        self._graph = inputs, outputs if isinstance(outputs, tuple) else (outputs,)

    def backward(self, gradients: tuple[Any, ...]) -> list[Any]:
        """Gradients of the inputs."""
        self.again()
        assert self._graph is not None
        (inputs, outputs), self._graph = self._graph, None
        pairs = [
            (output, gradient)
            for output, gradient in zip(outputs, gradients, strict=True)
            if isinstance(output, Tensor) and output.requires_grad and gradient is not None
        ]
        torch.autograd.backward([output for output, _ in pairs], [gradient for _, gradient in pairs])
        return [value.grad if isinstance(value, Tensor) else None for value in inputs]


class _Again(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, piece: _Piece, run: Function, *inputs: Any) -> Any:
        ctx.piece = piece
        with torch.no_grad():
            return run(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return None, None, *ctx.piece.backward(gradients)


class Pass:
    """The forward pass of one micro-batch through one chunk."""

    def __init__(self, model: torch.nn.Module, is_last_chunk: bool) -> None:
        self.model, self.is_last_chunk = model, is_last_chunk
        self.is_again = False  # whether its layers are computed again
        self.pieces: list[_Piece] = []

    def run(self, function: Function, *inputs: Any) -> Any:
        """As the function, keeping of it the inputs only."""
        piece = _Piece(function, inputs)
        self.pieces.append(piece)
        return _Again.apply(piece, function, *inputs)


class Schedule:
    """Of one step."""

    now: Schedule | None = None

    def __init__(self, chunks: int, choose: Callable[[Schedule, Pass], None]) -> None:
        self.chunks = chunks
        self.current: Pass | None = None  # the forward pass that runs
        self._choose = choose
        self._models: dict[int, int] = {}  # chunks by the identity of their model
        self._order: list[int] = []  # the chunk of each forward pass
        self._waiting: dict[int, deque[Pass]] = defaultdict(deque)
        self._done = 0  # backward passes

    @contextlib.contextmanager
    def forward(self, model: torch.nn.Module) -> Iterator[None]:
        chunk = self._models.setdefault(id(model), len(self._models))
        self.current = Pass(model, chunk == self.chunks - 1 and _is_last_stage())
        self._choose(self, self.current)
        try:
            yield
        finally:
            self._order.append(chunk)
            self._waiting[chunk].append(self.current)
            self.current = None

    @property
    def next(self) -> Pass | None:
        """The pass whose backward pass comes next, if its forward pass has been."""
        if self._done >= len(self._order):
            return None
        passes = self._waiting[self._next_chunk()]
        return passes[0] if passes else None

    def _next_chunk(self) -> int:
        return self.chunks - 1 - self._order[self._done]

    def kept(self) -> int:
        """Passes that wait with all their activations."""
        return sum(not one.is_again for passes in self._waiting.values() for one in passes)

    def recompute(self) -> None:
        """What the next backward pass needs."""
        if self.next is not None:
            for piece in self.next.pieces:
                piece.again()

    def backward_done(self) -> None:
        self._waiting[self._next_chunk()].popleft()
        self._done += 1


class _Receipt:
    """The handle of a gradient that is received: who waits for it computes first."""

    def __init__(self, handle: Any, schedule: Schedule) -> None:
        self._handle, self._schedule = handle, schedule

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handle, name)

    def wait(self, *args: Any) -> Any:
        self._schedule.recompute()
        return self._handle.wait(*args)


def following(choose: Callable[[Schedule, Pass], None]) -> Callable[[Function], Function]:
    """The interleaved schedule, with a Schedule next to it where there is a backward pass."""

    def wrapping(interleaved: Function) -> Function:
        @functools.wraps(interleaved)
        def followed(*args: Any, **kwargs: Any) -> Any:
            if kwargs.get("forward_only", False):
                return interleaved(*args, **kwargs)
            Schedule.now = Schedule(len(kwargs["model"]), choose)
            try:
                return interleaved(*args, **kwargs)
            finally:
                Schedule.now = None

        return followed

    return wrapping


def forward_step(step: Function) -> Function:
    @functools.wraps(step)
    def followed(forward_step_func: Any, data_iterator: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        if Schedule.now is None:
            return step(forward_step_func, data_iterator, model, *args, **kwargs)
        with Schedule.now.forward(model):
            return step(forward_step_func, data_iterator, model, *args, **kwargs)

    return followed


def backward_step(step: Function) -> Function:
    @functools.wraps(step)
    def followed(*args: Any, **kwargs: Any) -> Any:
        result = step(*args, **kwargs)
        if Schedule.now is not None:
            Schedule.now.backward_done()
        return result

    return followed


def receiving(send_backward_recv_backward: Function) -> Function:
    @functools.wraps(send_backward_recv_backward)
    def received(*args: Any, **kwargs: Any) -> Any:
        result = send_backward_recv_backward(*args, **kwargs)
        if Schedule.now is not None and isinstance(result, tuple):
            handles = result[1]
            if handles and "recv_next" in handles:
                handles["recv_next"] = _Receipt(handles["recv_next"], Schedule.now)
        return result

    return received


def problems(args: Any, flag: str) -> Iterator[str]:
    """What there must be for a schedule that can be followed."""
    if getattr(args, "pipeline_model_parallel_size", 2) <= 1:
        yield f"{flag} is for pipelines: give --pipeline-model-parallel-size 2 or more, or leave it out"
    stages = ("num_layers_per_virtual_pipeline_stage", "num_virtual_stages_per_pipeline_rank")
    known = [name for name in stages if hasattr(args, name)]
    if known and not any(getattr(args, name) for name in known):
        yield f"{flag} is for interleaved pipelines: give --num-layers-per-virtual-pipeline-stage, or leave it out"
    if not getattr(args, "overlap_p2p_comm", True):
        yield f"{flag} computes while gradients come; leave out --no-overlap-p2p-communication or {flag}"


def patches(choose: Callable[[Schedule, Pass], None]) -> tuple[Patch, ...]:
    communicator = f"{_P2P}:P2PCommunicator.send_backward_recv_backward"
    return (
        Patch(f"{_SCHEDULES}:forward_backward_pipelining_with_interleaving", following(choose), wraps=True),
        Patch(f"{_SCHEDULES}:forward_step", forward_step, wraps=True),
        Patch(f"{_SCHEDULES}:backward_step", backward_step, wraps=True),
        Patch(f"{_P2P}:send_backward_recv_backward", receiving, wraps=True, until="0.14.0"),
        Patch(communicator, receiving, wraps=True, since="0.14.0"),
    )
