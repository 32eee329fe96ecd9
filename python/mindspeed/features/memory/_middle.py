# SPDX-License-Identifier: Apache-2.0
"""A forward pass that ends with a product, of which nothing is kept but what went in.

The backward pass runs it again up to that product, which is not computed a second time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from torch import Tensor

from mindspeed.features.memory._part import Part

Use = Callable[[Tensor], Any]
Forward = Callable[..., Any]


class _Enough(Exception):
    """What the last product would have multiplied."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class Middle:
    """One forward pass; `now` while it runs. Who sees the last product's call gives it to `last`."""

    now: ClassVar[Middle | None] = None

    def __init__(self, part: Part | None = None, noting: contextlib.ExitStack | None = None) -> None:
        self._part, self._noting = part, noting
        self.products = 0

    @contextlib.contextmanager
    def going_on(self) -> Iterator[None]:
        before, Middle.now = Middle.now, self
        try:
            yield
        finally:
            Middle.now = before

    def last(self, x: Tensor, use: Use) -> Any:
        if self._part is None or self._noting is None:
            raise _Enough(x)
        self._noting.close()
        with self._part.noting_uses_of(x):
            return use(x)


def _first(result: Any) -> Tensor:
    tensor: Tensor = result[0] if isinstance(result, tuple) else result
    return tensor


def without_middle(forward: Forward, flag: str, what: str, *given: Any) -> Any:
    """forward(*given)"""
    start = [
        value.detach().requires_grad_(value.requires_grad)
        if isinstance(value, Tensor) and value.is_floating_point()
        else value
        for value in given
    ]

    def again() -> Tensor:
        try:
            with Middle().going_on():
                return _first(forward(*start))
        except _Enough as enough:
            return enough.tensor

    part = Part(again, flag, what)
    with contextlib.ExitStack() as noting:
        noting.enter_context(part.noting())
        with Middle(part, noting).going_on():
            return forward(*given)
