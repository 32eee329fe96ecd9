# SPDX-License-Identifier: Apache-2.0
"""Gradients of weights that are computed after the backward pass they belong to.

Nobody waits for the gradient of a weight, other ranks wait for that of an input. While a caller puts work off, backward functions
of products give autograd nothing for their weights and hand over what would have computed it. `do` computes it, by the same
operators, and gives it to the weights as autograd would have: their hooks run then.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import torch

Gradients = Sequence[torch.Tensor | None]
_now: Work | None = None  # of the process: autograd runs backward functions in threads of its own


class Work:
    """Of one backward pass; keeps inputs of products and gradients of their outputs until it is done."""

    def __init__(self) -> None:
        self._parts: deque[tuple[Sequence[torch.Tensor], Callable[[], Gradients]]] = deque()

    def add(self, weights: Sequence[torch.Tensor], compute: Callable[[], Gradients]) -> None:
        self._parts.append((weights, compute))

    def do(self) -> None:
        """In the order in which it was put off; once."""
        while self._parts:
            weights, compute = self._parts.popleft()
            with torch.no_grad():
                gradients = compute()
            for weight, gradient in zip(weights, gradients, strict=True):
                if gradient is not None:
                    torch.autograd.backward(weight, gradient)


@contextlib.contextmanager
def putting_off() -> Iterator[Work]:
    """Backward passes in here leave gradients of weights to the work that it yields."""
    global _now
    before, _now = _now, Work()
    try:
        yield _now
    finally:
        _now = before


def can_wait(weight: torch.Tensor) -> bool:
    """Whether work is put off, and the weight is a parameter or a view of one: what else made it would run twice."""
    return _now is not None and (weight if weight._base is None else weight._base).is_leaf


def gradients_of(weights: Sequence[torch.Tensor], compute: Callable[[], Gradients]) -> Gradients:
    """For the backward function of a product: gradients of its weights, or of each None where they are put off.

    weights  as the function was given them
    compute  returns a gradient for each, or None for one that needs none or that has gone into its weight's accumulator
    """
    if _now is None or not all(can_wait(weight) for weight in weights):
        return compute()
    _now.add(weights, compute)
    return [None] * len(weights)


def gradient_of(weight: torch.Tensor, compute: Callable[[], torch.Tensor | None]) -> torch.Tensor | None:
    """The same for one weight."""
    (gradient,) = gradients_of([weight], lambda: [compute()])
    return gradient
