# SPDX-License-Identifier: Apache-2.0
"""Collectives of one dispatch of tokens, on a stream of their own: what is computed goes on until it needs what they bring.

Megatron's functions run as they are, so the backward pass of each runs on that stream too, and autograd makes the others
wait for it where they use its gradients.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


@functools.cache
def _stream_of(device: int, lane: int, computing: int) -> Any:
    """By the stream that computes: flights of passes that are beside each other do not wait for each other."""
    return torch.npu.Stream(device)


class Flight:
    """What has been sent and not yet arrived. Flights of one lane are one behind the other."""

    def __init__(self, lane: int = 0) -> None:
        stream = torch.npu.current_stream()
        self._side = _stream_of(torch.npu.current_device(), lane, stream.npu_stream)
        self._last: Any = None  # the event behind the last collective that nobody has waited for

    def start(
        self, communicate: Callable[..., Tensor], *args: Any, after: Any = None, **kwargs: Any
    ) -> Tensor:
        """The result of a collective, which may only be given to another one, or used after `wait`. `after`: an event of
        another flight that it comes behind."""
        computing = torch.npu.current_stream()
        self._side.wait_stream(computing)
        if after is not None:
            self._side.wait_event(after)
        with torch.npu.stream(self._side):
            result = communicate(*args, **kwargs)
            self._last = self._side.record_event()
        for given in (*args, *kwargs.values()):
            if isinstance(given, Tensor) and given.device.type == "npu":
                given.record_stream(self._side)
        result.record_stream(computing)
        return result

    @property
    def last(self) -> Any:
        """To wait for what has been started up to now, but not for what comes later."""
        return self._last

    def wait(self, event: Any = None) -> None:
        """What is computed from here on comes after the collectives: those up to the event, or all."""
        event = event or self._last
        if event is not None:
            torch.npu.current_stream().wait_event(event)
        if event is self._last:
            self._last = None
