# SPDX-License-Identifier: Apache-2.0
"""The backward pass of one micro-batch beside the forward pass of another.

Each has a stream: autograd runs a backward pass on the stream of its forward pass, so micro-batches take two streams in turns. A thread
of the host hands out the backward pass while the caller's hands out the forward pass, and whatever one of them waits for, which
is most of all messages between experts, the other computes. Messages of backward passes have groups of ranks of their own:
within a group all ranks send in the order of one thread, and between the two there is none that they would have to agree on.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from mindspeed.features.moe._groups import beside

Result = TypeVar("Result")


@functools.cache
def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "backward")


@functools.cache
def _streams(device: int) -> tuple[Any, Any]:
    return torch.npu.Stream(device), torch.npu.Stream(device)


class Beside:
    """Of one step of training."""

    now: ClassVar[Beside | None] = None

    def __init__(self) -> None:
        from megatron.core import parallel_state

        self._device = torch.npu.current_device()
        self._calling = torch.npu.current_stream()
        group = parallel_state.get_expert_model_parallel_group()
        self._groups = {group: beside(group, "backward", 1)[0]}
        self._streams = _streams(self._device)

    def __enter__(self) -> Beside:
        for stream in self._streams:
            stream.wait_stream(self._calling)
        Beside.now = self
        return self

    def __exit__(self, *_: object) -> None:
        Beside.now = None
        for stream in self._streams:
            self._calling.wait_stream(stream)

    def group_of_backward(self, group: Any) -> Any:
        if group in self._groups:
            return self._groups[group]
        raise RuntimeError(
            "--moe-fb-overlap: a backward pass exchanges tokens in a group of ranks that is not that of the experts; leave the flag out"
        )

    def on(self, lane: int, function: Callable[[], Result]) -> Result:
        """A forward pass, or a backward pass by itself."""
        with torch.npu.stream(self._streams[lane]):
            return function()

    def start(self, lane: int, function: Callable[[], Result]) -> Future[Result]:
        """A backward pass, while the caller goes on."""

        def run() -> Result:
            torch.npu.set_device(self._device)
            with torch.enable_grad():
                return self.on(lane, function)

        return _thread().submit(run)


def in_its_group(backward: Callable[..., Any]) -> Callable[..., Any]:
    """_AllToAll.backward."""

    @functools.wraps(backward)
    def exchanged(ctx: Any, *gradients: Tensor) -> Any:
        if Beside.now is not None and ctx.group.size() > 1:
            ctx.group = Beside.now.group_of_backward(ctx.group)
        return backward(ctx, *gradients)

    return exchanged


def without_pipeline(plain: Callable[..., Any]) -> Callable[..., Any]:
    """In place of forward_backward_no_pipelining, with its arguments: all but the first forward and the last backward pass are
    beside another."""

    @functools.wraps(plain)
    def overlapped(
        *,
        forward_step_func: Callable[..., Any],
        data_iterator: Any,
        model: Any,
        num_microbatches: int,
        forward_only: bool = False,
        collect_non_loss_data: bool = False,
        first_val_step: bool | None = None,
        **sizes: Any,
    ) -> list[Any]:
        given = {
            "forward_step_func": forward_step_func, "data_iterator": data_iterator, "model": model,
            "num_microbatches": num_microbatches, "forward_only": forward_only,
            "collect_non_loss_data": collect_non_loss_data, "first_val_step": first_val_step,
        }  # fmt: skip
        if forward_only or num_microbatches < 2:
            found: list[Any] = plain(**given, **sizes)
            return found
        from megatron.core.pipeline_parallel import schedules

        (model,) = model if isinstance(model, list) else [model]
        (data_iterator,) = data_iterator if isinstance(data_iterator, list) else [data_iterator]
        config, kind = schedules.get_model_config(model), schedules.get_model_type(model)
        if config.timers is not None:
            config.timers("forward-backward", log_level=1).start(barrier=config.barrier_with_L1_time)
        losses: list[Any] = []
        tokens: list[Any] = []

        def forward(number: int) -> Any:
            first = schedules.check_first_val_step(first_val_step, False, number == 0)
            output, count = schedules.forward_step(
                forward_step_func, data_iterator, model, num_microbatches, None, losses, config,
                collect_non_loss_data, is_first_microbatch=first, current_microbatch=number,
            )  # fmt: skip
            tokens.append(count)
            return output

        def backward(output: Any) -> None:
            schedules.backward_step(None, output, None, kind, config)

        with Beside() as passes:
            with (config.no_sync_func or contextlib.nullcontext)():
                output = passes.on(0, lambda: forward(0))
                for number in range(1, num_microbatches):
                    running = passes.start((number - 1) % 2, functools.partial(backward, output))
                    try:
                        output = passes.on(number % 2, functools.partial(forward, number))
                    finally:
                        running.result()
            passes.on((num_microbatches - 1) % 2, functools.partial(backward, output))
        total = torch.zeros([], dtype=torch.int, device="npu")
        for count in tokens:
            total += count
        if config.finalize_model_grads_func is not None:
            config.finalize_model_grads_func([model], total if config.calculate_per_token_loss else None)
        if config.timers is not None:
            config.timers("forward-backward").stop()
        return losses

    return overlapped
