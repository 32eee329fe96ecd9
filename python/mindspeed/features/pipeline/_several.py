# SPDX-License-Identifier: Apache-2.0
"""What stages of a pipeline give each other where it is several tensors.

To Megatron's schedules a message of several tensors is one thing, which they keep and hand on without a look. Its graph is
that of one number, the root: the backward pass of the root takes the gradients that have come from the next stage. So Megatron's own
steps run, forward and backward, and its schedules, interleaved ones too.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Function = Callable[..., Any]
FLAG = "--use-multiparameter-pipeline-model-parallel"


class Outputs(tuple[Any, ...]):
    """What a model returns, with the device that Megatron asks an output for."""

    __slots__ = ()

    @property
    def device(self) -> torch.device:
        return next(value.device for value in self if isinstance(value, Tensor))


class _Gradients:
    """From the next stage, for the backward pass of a root."""

    values: Sequence[Tensor | None] = ()


class _Root(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradients: _Gradients, *tensors: Tensor) -> Tensor:
        ctx.gradients = gradients
        return tensors[0].new_zeros(1)

    @staticmethod
    def backward(ctx: Any, _one: Tensor) -> tuple[Tensor | None, ...]:
        values, ctx.gradients.values = ctx.gradients.values, ()
        return None, *values


class Message:
    """Tensors for one pass, or their gradients; None for a gradient that there is none of. Empty until it has arrived.

    is_alone   one tensor, which the stages know as that and not as a tuple of one
    root       of what a stage returned
    """

    def __init__(self, tensors: Sequence[Tensor | None] = (), is_alone: bool = False) -> None:
        self.tensors, self.is_alone = tuple(tensors), is_alone
        self.root: Tensor | None = None
        self._places: list[int] = []  # of tensors that want a gradient
        self._gradients = _Gradients()

    @staticmethod
    def returned(values: Sequence[Any]) -> Message:
        """By a stage, forward."""
        for place, value in enumerate(values):
            if not isinstance(value, Tensor):
                raise TypeError(
                    f"{FLAG}: a stage returned {type(value).__name__} at place {place} of its tuple, wanted a tensor: "
                    "only tensors travel to the next stage"
                )
        message = Message(values)
        message._places = [place for place, value in enumerate(values) if value.requires_grad]
        wanted = [values[place] for place in message._places]
        message.root = _Root.apply(message._gradients, *wanted) if wanted else torch.zeros(1)
        return message

    def let_go(self) -> None:
        """Of what has been sent; what the graph needs it keeps itself."""
        self.tensors = ()

    def take(self, gradients: Any) -> None:
        """For the backward pass, which follows."""
        found = as_list(gradients)
        self._gradients.values = [found[place] for place in self._places]


def as_list(given: Any) -> list[Tensor | None]:
    """A message, a tensor or None as tensors."""
    return list(given.tensors) if isinstance(given, Message) else [given]


def _alone(given: Any) -> tuple[Any, bool]:
    """Schedules without interleaving have lists, of one entry but for encoders with decoders."""
    if not isinstance(given, list):
        return given, False
    if len(given) > 1:
        raise NotImplementedError(
            f"{FLAG}: the model is an encoder and a decoder, whose messages Megatron knows itself; leave {FLAG} out"
        )
    return given[0] if given else None, True


def _with_device(function: Function) -> Function:
    """The caller's forward_step_func, whose output may be a tuple."""

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        output, loss = function(*args, **kwargs)
        return Outputs(output) if isinstance(output, (tuple, list)) else output, loss

    return called


def forward_step(step: Function) -> Function:
    """The model's set_input_tensor is given a list of all that the stage before returned."""

    @functools.wraps(step)
    def stepped(
        function: Function,
        iterator: Any,
        model: Any,
        batches: int,
        input_tensor: Any,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        given, is_list = _alone(input_tensor)
        (output,), tokens = step(
            _with_device(function), iterator, model, batches, as_list(given), *args, **kwargs
        )
        if isinstance(output, tuple):
            output = Message.returned(output)
        return [output] if is_list else output, tokens

    return stepped


def backward_step(step: Function) -> Function:
    @functools.wraps(step)
    def stepped(input_tensor: Any, output_tensor: Any, output_tensor_grad: Any, *args: Any) -> Any:
        (given, is_list), (output, _), (gradient, _) = map(
            _alone, (input_tensor, output_tensor, output_tensor_grad)
        )
        if isinstance(output, Message):
            output.take(gradient)
            root = output.root
            assert root is not None
            output, gradient = root, torch.ones_like(root)
        else:
            (gradient,) = as_list(gradient)
        inputs = as_list(given)
        places = [place for place, value in enumerate(inputs) if value is not None and value.requires_grad]
        found = step([inputs[place] for place in places] or [None], [output], [gradient], *args)
        result: Any = dict(zip(places, found, strict=False))
        tensors = [result.get(place) for place in range(len(inputs))]
        if isinstance(given, Message):
            result = Message(tensors, given.is_alone)
        else:
            (result,) = tensors
        return [result] if is_list else result

    return stepped


def letting_go(deallocate_output_tensor: Function) -> Function:
    """A tensor of several may be used inside of its stage as well, so its memory stays where the graph has it."""

    @functools.wraps(deallocate_output_tensor)
    def let_go(out: Any, *args: Any, **kwargs: Any) -> None:
        if isinstance(out, Message):
            out.let_go()
        else:
            deallocate_output_tensor(out, *args, **kwargs)

    return let_go
