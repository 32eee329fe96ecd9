# SPDX-License-Identifier: Apache-2.0
"""Running the passes of a pipeline in pairs: a forward pass beside a backward pass (moe/_beside.py).

A pass runs on one of two streams, forward on the one that the backward pass beside it does not need, and backward where its forward
pass was, as autograd has it. Passes of a kind are one behind the other on the device, so what one gives to another is there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mindspeed.adaptor.session import is_on
from mindspeed.features.moe._beside import Beside
from mindspeed.features.pipeline._pairs import Pairs, pairs
from mindspeed.features.pipeline._vee import BACKWARD, FORWARD, Pass
from mindspeed.features.pipeline._vee_run import Mail, Run, Steps, report, shape

Slot = tuple[Pass, ...]


@functools.cache
def _asking(device: int) -> Any:
    """A stream on which messages are asked for, and which waits for no pass."""
    return torch.npu.Stream(device)


class PairSteps(Steps):
    """The chunk that Megatron's functions ask for is that of the forward pass; a backward pass asks for none."""

    def backward(
        self, step: Pass, given: Tensor | None, output: Tensor, gradient: Tensor | None
    ) -> Tensor | None:
        found: Tensor | None = self._schedules.backward_step(
            given, output, gradient, self._schedules.ModelType.encoder_or_decoder, self._config
        )
        return found

    def _turn_to(self, chunk: int) -> None:
        from megatron.core import parallel_state

        if parallel_state.get_virtual_pipeline_model_parallel_world_size() is not None:
            parallel_state.set_virtual_pipeline_model_parallel_rank(chunk)


class PairRun(Run):
    def __init__(
        self, models: list[Any], order: Pairs, rank: int, mail: Mail, steps: Steps, passes: Beside
    ) -> None:
        super().__init__(models, order, rank, mail, steps)
        self._slots, self._passes = order.slots[rank], passes
        self._lanes: dict[tuple[int, int], int] = {}  # of forward passes without their backward pass

    def run(self) -> None:
        for slot, following in zip(self._slots, [*self._slots[1:], ()], strict=True):
            self._carry_out(slot, following)
        self._mail.close()

    def _carry_out(self, slot: Slot, following: Slot) -> None:
        parts = {step.kind: (lane, step, self._taken_on(lane, step)) for lane, step in self._on_lanes(slot)}
        with torch.npu.stream(_asking(torch.npu.current_device())):
            for message in filter(None, map(self._wanted, following)):
                self._mail.ask(message)
        runs = {BACKWARD: self._backward, FORWARD: self._forward}
        ready = {
            kind: (lane, functools.partial(runs[kind], step, given))
            for kind, (lane, step, given) in parts.items()
        }
        running = self._passes.start(*ready[BACKWARD]) if len(ready) == 2 else None
        mine = FORWARD if FORWARD in ready else BACKWARD
        try:
            self._passes.run(mine, *ready[mine])
        finally:
            if running is not None:
                running.result()

    def _on_lanes(self, slot: Slot) -> list[tuple[int, Pass]]:
        lanes: list[tuple[int, Pass]] = []
        for step in sorted(slot, key=lambda step: step.kind != BACKWARD):
            if step.kind == BACKWARD:
                lane = self._lanes.pop((step.chunk, step.batch))
            else:
                lane = self._lanes[step.chunk, step.batch] = 1 - lanes[0][0] if lanes else 0
            lanes.append((lane, step))
        return lanes

    def _taken_on(self, lane: int, step: Pass) -> Tensor | None:
        with torch.npu.stream(self._passes.stream(lane)):
            given = self._taken(step)
        if given is not None:
            given.record_stream(self._passes.stream(lane))
        return given


def _step(
    *,
    forward_step_func: Callable[..., Any],
    data_iterator: Any,
    model: Any,
    num_microbatches: int,
    seq_length: int,
    micro_batch_size: int,
    decoder_seq_length: int | None = None,
    forward_only: bool = False,
    collect_non_loss_data: bool = False,
    first_val_step: bool | None = None,
) -> list[Any]:
    """Of training, with the arguments of Megatron's schedules."""
    from megatron.core import parallel_state
    from megatron.core.pipeline_parallel import schedules

    models = model if isinstance(model, list) else [model]
    iterators = data_iterator if isinstance(data_iterator, list) else [data_iterator]
    config = schedules.get_model_config(models[0])
    if config.timers is not None:
        config.timers("forward-backward", log_level=1).start(barrier=config.barrier_with_L1_time)
    pipeline = parallel_state.get_pipeline_model_parallel_group()
    rank, ranks = torch.distributed.get_rank(pipeline), torch.distributed.get_world_size(pipeline)
    is_vee = is_on("schedules-method")
    group = config.microbatch_group_size_per_vp_stage or ranks
    order = pairs(ranks, num_microbatches, len(models), group, is_vee)
    mail = Mail(order, rank, pipeline, shape(config, decoder_seq_length or seq_length, micro_batch_size))
    how = {
        "forward_only": forward_only,
        "collect_non_loss_data": collect_non_loss_data,
        "first_val_step": first_val_step,
    }
    steps = PairSteps(config, schedules, forward_step_func, iterators, num_microbatches, False, **how)
    with Beside() as passes:
        PairRun(models, order, rank, mail, steps, passes).run()
    found, tokens = report(steps, pipeline) if is_vee else (steps.found, steps.tokens)
    if config.finalize_model_grads_func is not None:
        config.finalize_model_grads_func(models, tokens if config.calculate_per_token_loss else None)
    if config.timers is not None:
        config.timers("forward-backward").stop()
    return found


def in_pairs(schedule: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """A schedule of a pipeline, which is left to evaluate."""

    @functools.wraps(schedule)
    def run(**given: Any) -> list[Any]:
        return schedule(**given) if given.get("forward_only") else _step(**given)

    return run
