# SPDX-License-Identifier: Apache-2.0
"""Running the passes of a pipeline in their order, with Megatron's own steps for each pass.

Messages of a kind of passes and a direction have a group of ranks of their own: one rank only sends in it and the other only
receives, in one order, so nobody waits for a message whose receiver waits as well. What the next pass needs is asked for before this one.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mindspeed.adaptor.session import is_on
from mindspeed.features.pipeline._directions import DOWN, UP, lanes
from mindspeed.features.pipeline._vee import BACKWARD, FORWARD, WEIGHTS, Message, Order, Pass, plan
from mindspeed.ops import later

_Shape = tuple[tuple[int, ...], torch.dtype]
_LANES = tuple(itertools.product((FORWARD, BACKWARD), (DOWN, UP)))
_connected: dict[Any, Any] = {}  # groups whose neighbours have met


class Mail:
    """Messages of this rank."""

    def __init__(self, order: Order, rank: int, pipeline: Any, form: _Shape) -> None:
        self._rank, self._form, self._place = rank, form, order.place
        self._ranks = torch.distributed.get_process_group_ranks(pipeline)
        self._groups = lanes(pipeline, _LANES)
        if _connected != self._groups:
            self._connect()
        self._expected: dict[tuple[int, str], deque[Message]] = defaultdict(deque)
        for peer in {(rank + step) % order.place.ranks for step in (DOWN, UP)} - {rank}:
            for message in order.messages(peer, rank):
                self._expected[peer, message.kind].append(message)
        self._arriving: dict[Message, tuple[Tensor, Any]] = {}
        self._leaving: dict[str, list[tuple[Tensor, Any]]] = {FORWARD: [], BACKWARD: []}

    def _connect(self) -> None:
        """Two ranks that send to each other for the first time wait for each other, on the host: here, in one order
        of all pairs of neighbours, as in the order of passes one may wait for what the other sends later."""
        size = len(self._ranks)
        for group in self._groups.values():
            for one in range(size if size > 2 else size - 1):
                other, number = (one + 1) % size, torch.zeros(1, device="npu")
                if self._rank == one:
                    torch.distributed.send(number, self._ranks[other], group)
                elif self._rank == other:
                    torch.distributed.recv(number, self._ranks[one], group)
        _connected.clear()
        _connected.update(self._groups)

    def ask(self, message: Message) -> None:
        """And for what the same rank sends before it."""
        if message in self._arriving:
            return
        peer = self._place.rank(message.stage + (-1 if message.kind == FORWARD else 1))
        queue = self._expected[peer, message.kind]
        group = self._groups[message.kind, DOWN if peer < self._rank else UP]
        while message not in self._arriving:
            shape, dtype = self._form
            tensor = torch.empty(shape, dtype=dtype, device="npu")
            work = torch.distributed.irecv(tensor, self._ranks[peer], group)
            self._arriving[queue.popleft()] = tensor, work

    def take(self, message: Message) -> Tensor:
        self.ask(message)
        tensor, work = self._arriving.pop(message)
        work.wait()
        return tensor

    def send(self, peer: int, kind: str, tensor: Tensor) -> None:
        tensor = tensor.detach().contiguous()
        group = self._groups[kind, DOWN if peer > self._rank else UP]
        leaving = [(sent, work) for sent, work in self._leaving[kind] if not work.is_completed()]
        leaving.append((tensor, torch.distributed.isend(tensor, self._ranks[peer], group)))
        self._leaving[kind] = leaving

    def close(self) -> None:
        for leaving in self._leaving.values():
            for _, work in leaving:
                work.wait()


class Run:
    """One step of training, or of evaluation, on this rank."""

    def __init__(self, models: list[Any], order: Order, rank: int, mail: Mail, steps: Steps) -> None:
        self._models, self._order, self._rank, self._mail, self._steps = models, order, rank, mail, steps
        self._here: dict[Message, Tensor] = {}  # from one chunk to the other of this rank
        self._kept: dict[tuple[int, int], tuple[Tensor | None, Tensor]] = {}

    def run(self) -> None:
        run: dict[str, Callable[[Pass, Any], None]] = {
            FORWARD: self._forward,
            BACKWARD: self._backward,
            WEIGHTS: self._weights,
        }
        passes = self._order.orders[self._rank]
        for step, following in zip(passes, self._followers(passes), strict=True):
            given = self._taken(step)
            if following is not None and (message := self._wanted(following)) is not None:
                self._mail.ask(message)
            run[step.kind](step, given)
        self._mail.close()

    @staticmethod
    def _followers(passes: list[Pass]) -> list[Pass | None]:
        """Of each pass the next one that may be given something."""
        following: Pass | None = None
        found = []
        for step in reversed(passes):
            found.append(following)
            following = following if step.kind == WEIGHTS else step
        return found[::-1]

    def _stage(self, step: Pass) -> int:
        return self._order.place.stage(self._rank, step.chunk)

    def _source(self, step: Pass) -> int | None:
        """The stage that gives to this pass."""
        place, stage = self._order.place, self._stage(step)
        source = stage - 1 if step.kind == FORWARD else stage + 1
        return source if 0 <= source <= place.last else None

    def _wanted(self, step: Pass) -> Message | None:
        """What it needs of another rank."""
        if step.kind == WEIGHTS:
            return None
        source = self._source(step)
        if source is None or self._order.place.rank(source) == self._rank:
            return None
        return Message(step.kind, self._stage(step), step.batch)

    def _taken(self, step: Pass) -> Tensor | None:
        message = self._wanted(step)
        if message is not None:
            return self._mail.take(message)
        return self._here.pop(Message(step.kind, self._stage(step), step.batch), None)

    def _give(self, step: Pass, tensor: Tensor) -> None:
        sent = self._order.sent(self._rank, step)
        if sent is not None:
            self._mail.send(sent[0], step.kind, tensor)
            return
        following = self._stage(step) + (1 if step.kind == FORWARD else -1)
        if 0 <= following <= self._order.place.last:
            self._here[Message(step.kind, following, step.batch)] = tensor.detach()

    def _forward(self, step: Pass, given: Tensor | None) -> None:
        if given is not None:
            given.requires_grad_(not self._steps.forward_only)
        output = self._steps.forward(step, self._models[step.chunk], given)
        is_last = self._stage(step) == self._order.place.last
        if not is_last:
            self._give(step, output)
        if self._steps.forward_only:
            return
        self._kept[step.chunk, step.batch] = given, output
        if not is_last:
            self._steps.free(output)

    def _backward(self, step: Pass, gradient: Tensor | None) -> None:
        given, output = self._kept.pop((step.chunk, step.batch))
        found = self._steps.backward(step, given, output, gradient)
        if found is not None:
            self._give(step, found)

    def _weights(self, step: Pass, given: None) -> None:
        self._steps.weights(step)


class Steps:
    """A pass by Megatron's functions."""

    def __init__(
        self,
        config: Any,
        schedules: Any,
        forward: Callable[..., Any],
        iterators: Any,
        batches: int,
        is_apart: bool = False,
        **how: Any,
    ) -> None:
        self._config, self._schedules, self._function, self._iterators = config, schedules, forward, iterators
        self._batches, self._collects = batches, how["collect_non_loss_data"]
        self.forward_only: bool = how["forward_only"]
        self._puts_off = is_apart
        self._later: dict[tuple[int, int], later.Work] = {}  # gradients of weights by chunk and micro-batch
        self._first = how["first_val_step"]
        self.found: list[Any] = []  # what loss functions report
        self.tokens = torch.tensor(0, dtype=torch.int, device="npu")

    def _turn_to(self, chunk: int) -> None:
        """Megatron's functions ask which chunk they work on."""
        from megatron.core import parallel_state

        parallel_state.set_virtual_pipeline_model_parallel_rank(chunk)

    def forward(self, step: Pass, model: Any, given: Tensor | None) -> Tensor:
        first = self._schedules.check_first_val_step(self._first, self.forward_only, step.batch == 0)
        grad = torch.no_grad() if self.forward_only else contextlib.nullcontext()
        self._turn_to(step.chunk)
        with grad:
            output, tokens = self._schedules.forward_step(
                self._function,
                self._iterators[step.chunk],
                model,
                self._batches,
                given,
                self.found,
                self._config,
                self._collects,
                None,
                first,
                current_microbatch=step.batch,
            )
        self.tokens += tokens
        result: Tensor = output
        return result

    def backward(
        self, step: Pass, given: Tensor | None, output: Tensor, gradient: Tensor | None
    ) -> Tensor | None:
        kind = self._schedules.ModelType.encoder_or_decoder
        self._turn_to(step.chunk)
        with later.putting_off() if self._puts_off else contextlib.nullcontext() as work:
            found: Tensor | None = self._schedules.backward_step(given, output, gradient, kind, self._config)
        if work is not None:
            self._later[step.chunk, step.batch] = work
        return found

    def weights(self, step: Pass) -> None:
        """What the backward pass has put off."""
        self._later.pop((step.chunk, step.batch)).do()

    def free(self, output: Tensor) -> None:
        """Of an output that is sent autograd needs the graph alone."""
        self._schedules.deallocate_output_tensor(output, self._config.deallocate_pipeline_outputs)


def _on(device: str, found: Any) -> Any:
    if isinstance(found, Tensor):
        return found.to(device)
    if isinstance(found, dict):
        return {key: _on(device, value) for key, value in found.items()}
    if isinstance(found, (list, tuple)):
        return type(found)(_on(device, value) for value in found)
    return found


def report(steps: Steps, pipeline: Any) -> tuple[list[Any], Tensor]:
    """Losses and numbers of tokens for all ranks: Megatron looks for them on the last one, and they are on the first."""
    ranks = torch.distributed.get_process_group_ranks(pipeline)
    rows = [_on("cpu", steps.found), steps.tokens.cpu()]
    torch.distributed.broadcast_object_list(rows, src=ranks[0], group=pipeline)
    return _on("npu", rows[0]), rows[1].npu()


def shape(config: Any, sequence: int, batch: int) -> _Shape:
    length = sequence // config.context_parallel_size
    if config.sequence_parallel:
        length //= config.tensor_model_parallel_size
    dtype = torch.float32 if config.fp32_residual_connection else config.pipeline_dtype
    return (length, batch, config.hidden_size), dtype


def step(
    *,
    forward_step_func: Callable[..., Any],
    data_iterator: Any,
    model: list[Any],
    num_microbatches: int,
    seq_length: int,
    micro_batch_size: int,
    decoder_seq_length: int | None = None,
    forward_only: bool = False,
    collect_non_loss_data: bool = False,
    first_val_step: bool | None = None,
) -> list[Any]:
    """In place of Megatron's interleaved schedule, with its arguments."""
    from megatron.core import parallel_state
    from megatron.core.pipeline_parallel import schedules

    config = schedules.get_model_config(model[0])
    if config.timers is not None:
        config.timers("forward-backward", log_level=1).start(barrier=config.barrier_with_L1_time)
    pipeline = parallel_state.get_pipeline_model_parallel_group()
    rank, ranks = torch.distributed.get_rank(pipeline), torch.distributed.get_world_size(pipeline)
    order = plan(ranks, num_microbatches, forward_only, is_on("dualpipev-dw-detach"))
    mail = Mail(order, rank, pipeline, shape(config, decoder_seq_length or seq_length, micro_batch_size))
    how = {
        "forward_only": forward_only,
        "collect_non_loss_data": collect_non_loss_data,
        "first_val_step": first_val_step,
    }
    steps = Steps(
        config, schedules, forward_step_func, data_iterator, num_microbatches, order.is_apart, **how
    )
    Run(model, order, rank, mail, steps).run()
    found, tokens = report(steps, pipeline)
    if config.finalize_model_grads_func is not None and not forward_only:
        config.finalize_model_grads_func(model, tokens if config.calculate_per_token_loss else None)
    if config.timers is not None:
        config.timers("forward-backward").stop()
    return found
