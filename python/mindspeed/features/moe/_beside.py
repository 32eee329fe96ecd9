# SPDX-License-Identifier: Apache-2.0
"""The backward pass of one micro-batch beside the forward pass of another.

Each has a stream: autograd runs a backward pass on the stream of its forward pass, so micro-batches take two streams in turns. A thread
of the host hands out the backward pass while the caller's hands out the forward pass, and whatever one of them waits for, which
is most of all messages between ranks of a layer, the other computes. Messages of backward passes have groups of ranks of their own:
within a group all ranks send in the order of one thread, and between the two there is none that they would have to agree on.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from mindspeed.features.moe._groups import beside, is_beside

Result = TypeVar("Result")
FORWARD, BACKWARD = "forward", "backward"
# Of parallel_state: all in which layers exchange messages, and Megatron's names of them.
_GROUPS = {
    "get_expert_model_parallel_group": "ep", "get_tensor_model_parallel_group": "tp",
    "get_expert_tensor_parallel_group": "ep_tp", "get_expert_tensor_and_model_parallel_group": "tp_ep_mp",
}  # fmt: skip


@functools.cache
def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "backward")


@functools.cache
def _streams(device: int) -> tuple[Any, Any]:
    return torch.npu.Stream(device), torch.npu.Stream(device)


@functools.cache
def _buffer(make: Callable[[], Any], stream: int) -> Any:
    return make()


class Beside:
    """Of one step of training."""

    now: ClassVar[Beside | None] = None

    def __init__(self) -> None:
        from megatron.core import parallel_state

        self._device = torch.npu.current_device()
        self._calling = torch.npu.current_stream()
        groups = {getattr(parallel_state, getter)(): name for getter, name in _GROUPS.items()}
        self._groups = {
            group: beside(group, BACKWARD, 1, name)[0] for group, name in groups.items() if group.size() > 1
        }
        self._streams = _streams(self._device)
        self._last: dict[str, Any] = {}  # behind the last pass of a kind
        self._scalers: set[Any] = set()

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
        group = torch.distributed.group.WORLD if group is None else group
        if group in self._groups:
            return self._groups[group]
        if group.size() == 1 or is_beside(group):
            return group
        raise RuntimeError(
            "--moe-fb-overlap: a backward pass sends messages in a group of ranks that is none of tensor-parallel ranks or of experts; "
            "leave the flag out"
        )

    def is_first_of(self, scaler: Any) -> bool:
        """Whether this step has not asked for it yet."""
        is_new = scaler not in self._scalers
        self._scalers.add(scaler)
        return is_new

    def stream(self, lane: int) -> Any:
        return self._streams[lane]

    def run(self, kind: str, lane: int, function: Callable[[], Result]) -> Result:
        """A pass, behind the last one of its kind: their gradients are added up in that order, and what one makes for
        the next ones, such as tables of angles, is there."""
        stream = self._streams[lane]
        with torch.npu.stream(stream):
            if kind in self._last:
                stream.wait_event(self._last[kind])
            result = function()
            self._last[kind] = stream.record_event()
        return result

    def start(self, lane: int, function: Callable[[], Result]) -> Future[Result]:
        """A backward pass, while the caller goes on."""

        def run() -> Result:
            torch.npu.set_device(self._device)
            with torch.enable_grad():
                return self.run(BACKWARD, lane, function)

        return _thread().submit(run)


def _is_backward() -> bool:
    """Whether autograd is calling."""
    return bool(torch._C._current_graph_task_id() != -1)


def by_pass(collective: Callable[..., Any]) -> Callable[..., Any]:
    """A collective of torch.distributed, whoever calls it: forward as it is, backward in the other group."""
    place = list(inspect.signature(collective).parameters).index("group")

    @functools.wraps(collective)
    def sent(*args: Any, **kwargs: Any) -> Any:
        if Beside.now is None or not _is_backward():
            return collective(*args, **kwargs)
        if len(args) > place:
            args = (*args[:place], Beside.now.group_of_backward(args[place]), *args[place + 1 :])
        else:
            kwargs["group"] = Beside.now.group_of_backward(kwargs.get("group"))
        return collective(*args, **kwargs)

    return sent


def by_stream(get_global_memory_buffer: Callable[[], Any]) -> Callable[[], Any]:
    """Of a buffer that every layer gathers into each stream has its own."""

    @functools.wraps(get_global_memory_buffer)
    def got() -> Any:
        buffer = get_global_memory_buffer()
        if Beside.now is None:
            return buffer
        make: Any = type(buffer)
        return _buffer(make, torch.npu.current_stream().npu_stream)

    return got


def once(set_loss_scale: Callable[[Tensor], None]) -> Callable[[Tensor], None]:
    """Each forward pass sets the same scale anew, on its stream, and a backward pass on the other one reads it."""

    @functools.wraps(set_loss_scale)
    def set_once(scale: Tensor) -> None:
        if Beside.now is None:
            set_loss_scale(scale)
        elif Beside.now.is_first_of(set_loss_scale):
            torch.npu.current_stream().synchronize()
            set_loss_scale(scale)

    return set_once


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
                output = passes.run(FORWARD, 0, lambda: forward(0))
                for number in range(1, num_microbatches):
                    running = passes.start((number - 1) % 2, functools.partial(backward, output))
                    try:
                        output = passes.run(FORWARD, number % 2, functools.partial(forward, number))
                    finally:
                        running.result()
            passes.run(BACKWARD, (num_microbatches - 1) % 2, functools.partial(backward, output))
        total = torch.zeros([], dtype=torch.int, device="npu")
        for count in tokens:
            total += count
        if config.finalize_model_grads_func is not None:
            config.finalize_model_grads_func([model], total if config.calculate_per_token_loss else None)
        if config.timers is not None:
            config.timers("forward-backward").stop()
        return losses

    return overlapped
