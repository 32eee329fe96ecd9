# SPDX-License-Identifier: Apache-2.0
"""A module, or a layer, of which only the input is kept: its backward pass runs it again (Megatron's checkpoint)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

Forward = Callable[..., Any]


def run_again(run: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The result of run(*args, **kwargs), which is called once more in the backward pass."""
    from megatron.core import tensor_parallel

    values = [*args, *kwargs.values()]
    places = [
        place for place, value in enumerate(values) if isinstance(value, Tensor) and value.requires_grad
    ]
    if not places or not torch.is_grad_enabled():
        return run(*args, **kwargs)  # whose gradient nobody would ask for
    inputs = [values[place] for place in places]
    for place in places:
        values[place] = None  # kept by the checkpoint, outside of the graph
    parameters: dict[int, Tensor] = {}

    def body(*given: Tensor) -> Any:
        whole = list(values)
        for place, value in zip(places, given, strict=True):
            whole[place] = value
        found = run(*whole[: len(args)], **dict(zip(kwargs, whole[len(args) :], strict=True)))
        return _without_parameters(found, parameters)

    found = tensor_parallel.checkpoint(body, False, *inputs)
    if not parameters:
        return found
    return tuple(parameters.get(place, value) for place, value in enumerate(found))


def _without_parameters(found: Any, parameters: dict[int, Tensor]) -> Any:
    """A bias that a module hands on is a leaf, and would not be one any more as a result of the checkpoint."""
    if not isinstance(found, tuple):
        return found
    parameters.update({i: value for i, value in enumerate(found) if isinstance(value, torch.nn.Parameter)})
    return tuple(None if i in parameters else value for i, value in enumerate(found))


@contextlib.contextmanager
def running_again(module: torch.nn.Module | None, note: Callable[[Forward], Forward]) -> Iterator[None]:
    """For as long as this lasts the module's forward passes are run again later; `note` wraps what runs both times."""
    if module is None:
        yield
        return
    mine = vars(module).get("forward")
    run = note(module.forward)
    module.forward = lambda *args, **kwargs: run_again(run, args, kwargs)
    try:
        yield
    finally:
        if mine is None:
            del module.forward
        else:
            module.forward = mine
