# SPDX-License-Identifier: Apache-2.0
"""A counter of floating point operations, as --op-cal-tflops has one, under the name that other projects import."""

from __future__ import annotations

from mindspeed.features.tooling._flops import FlopCount

__all__ = ["FlopsCounter", "get_flops_counter"]


class FlopsCounter:
    """Counts the products that run between start() and stop()."""

    def __init__(self) -> None:
        self._count: FlopCount | None = None

    def start(self) -> None:
        self.stop()
        self._count = FlopCount()
        self._count.__enter__()

    def get_flops(self) -> list[int]:
        """[all, those that a checkpoint computed again] since start()"""
        if self._count is None:
            raise RuntimeError("get_flops: nothing is counted; call start() before")
        return [self._count.total, self._count.again]

    def stop(self) -> None:
        if self._count is not None:
            self._count.__exit__(None, None, None)
            self._count = None


_counter = FlopsCounter()


def get_flops_counter() -> FlopsCounter:
    """The one of this process."""
    return _counter
