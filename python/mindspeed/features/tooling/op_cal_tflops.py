# SPDX-License-Identifier: Apache-2.0
"""Log the throughput of the products that were computed, with and without what recomputation computes again.

Megatron's own figure comes from a formula for one kind of model. This one counts each matrix product and fused attention
as it runs, so it holds for any model, and tells utilisation of the model (MFU) from that of the hardware (HFU).
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable
from typing import Any

import torch

from mindspeed.adaptor import Feature, Flag, Level, Patch
from mindspeed.features.tooling._flops import FlopCount

_COUNT = FlopCount()
_seconds = 0.0


def counting(train_step: Callable[..., Any]) -> Callable[..., Any]:
    """A step, with its operations and its time until the device is done."""

    @functools.wraps(train_step)
    def counted(*args: Any, **kwargs: Any) -> Any:
        global _seconds
        begin = time.perf_counter()
        with _COUNT:
            result = train_step(*args, **kwargs)
        torch.npu.synchronize()
        _seconds += time.perf_counter() - begin
        return result

    return counted


def throughput() -> tuple[float, float]:
    """TFLOP/s per NPU since the last call, without and with recomputation: the mean of all ranks."""
    global _seconds
    seconds, _seconds = max(_seconds, 1e-9), 0.0
    rates = torch.tensor([flops / seconds / 1e12 for flops in _COUNT.take()], device="npu")
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(rates)
        rates /= torch.distributed.get_world_size()
    model, hardware = rates.tolist()
    return model, hardware


def logging(training_log: Callable[..., Any]) -> Callable[..., Any]:
    """Behind Megatron's line, as often."""

    @functools.wraps(training_log)
    def logged(*args: Any, **kwargs: Any) -> Any:
        from megatron.training import get_args
        from megatron.training.utils import print_rank_last

        result = training_log(*args, **kwargs)
        iteration = inspect.signature(training_log).bind(*args, **kwargs).arguments["iteration"]
        if iteration % get_args().log_interval == 0:
            model, hardware = throughput()
            print_rank_last(
                f" actual throughput per NPU (TFLOP/s/NPU): {model:.4f} | "
                f"actual throughput per NPU with recompute (TFLOP/s/NPU): {hardware:.4f} |"
            )
        return result

    return logged


def marking_run(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Of a checkpoint: it runs its part again, and then the gradients of that."""

    def marked(ctx: Any, *grads: Any) -> Any:
        run = ctx.run_function

        def again(*args: Any, **kwargs: Any) -> Any:
            with _COUNT.recomputing():
                return run(*args, **kwargs)

        ctx.run_function = again
        try:
            return backward(ctx, *grads)
        finally:
            ctx.run_function = run

    return marked


def marking(recompute: Callable[..., Any]) -> Callable[..., Any]:
    """Of a checkpoint whose output is dropped: a hook that only runs its part again."""

    def marked(self: Any, *args: Any) -> Any:
        with _COUNT.recomputing():
            return recompute(self, *args)

    return marked


_RANDOM = "megatron.core.tensor_parallel.random"
_TRAINING = "megatron.training.training"
FEATURE = Feature(
    name="op-cal-tflops",
    level=Level.ACCELERATION,
    flags=(
        Flag(
            "--op-cal-tflops",
            "Log the throughput of the products that were computed.",
            in_config=False,
        ),
    ),
    patches=(
        Patch(f"{_TRAINING}:train_step", counting, wraps=True, requires="megatron.training"),
        Patch(f"{_TRAINING}:training_log", logging, wraps=True, requires="megatron.training"),
        Patch(f"{_RANDOM}:CheckpointFunction.backward", marking_run, wraps=True),
        Patch(f"{_RANDOM}:CheckpointWithoutOutput._recompute", marking, wraps=True),
    ),
)
