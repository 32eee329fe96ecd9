# SPDX-License-Identifier: Apache-2.0
"""The loss for the log is summed over data-parallel ranks beside the backward pass and the step, not before them.

The loss function of the program begins the sum and returns it with what waits for it: (loss, tokens, ({name: values}, work)).
Megatron hands the third on untouched and looks into it after the optimizer's step. Here it is a dictionary that waits for the
sum when a value is read, so Megatron's training and evaluation are as they are.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from mindspeed.adaptor import Feature, Flag, Level, Patch

_RETURNS = "(loss, number of tokens, ({name: values}, torch.distributed.Work))"


class Report(dict[str, Any]):
    """Values of a micro-batch, and the sum that they wait for."""

    def __init__(self, values: dict[str, Any], work: Any) -> None:
        super().__init__(values)
        self._work = work

    def _wait(self) -> None:
        if self._work is not None:
            work, self._work = self._work, None
            work.wait()

    def __getitem__(self, name: str) -> Any:
        self._wait()
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self._wait()
        return super().get(name, default)

    def values(self) -> Any:
        self._wait()
        return super().values()

    def items(self) -> Any:
        self._wait()
        return super().items()


def report_of(returned: Any) -> Report:
    """Of the third thing that the loss function returned."""
    if isinstance(returned, tuple) and len(returned) == 2:
        values, work = returned
        if isinstance(values, dict) and callable(getattr(work, "wait", None)):
            return Report(values, work)
    raise TypeError(
        f"--async-log-allreduce: the loss function returned {type(returned).__name__} for the report; wanted {_RETURNS}, "
        "Work being what torch.distributed.all_reduce(..., async_op=True) returns; have it return that, or leave the flag out"
    )


def waiting_later(forward_step: Callable[..., Any]) -> Callable[..., Any]:
    """Megatron's step of one micro-batch, which puts a report into `forward_data_store` on the last stage."""
    signature = inspect.signature(forward_step)

    @functools.wraps(forward_step)
    def with_report(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs).arguments
        reports = given["forward_data_store"]
        number = len(reports)
        result = forward_step(*args, **kwargs)
        if not given.get("collect_non_loss_data", False):
            reports[number:] = [report_of(one) for one in reports[number:]]
        return result

    return with_report


FEATURE = Feature(
    name="async-log-allreduce",
    level=Level.ACCELERATION,
    flags=(
        Flag(
            "--async-log-allreduce",
            "The loss function begins the sum of its report, which is waited for when the log needs it.",
            in_config=False,
        ),
    ),
    patches=(Patch("megatron.core.pipeline_parallel.schedules:forward_step", waiting_later, wraps=True),),
)
