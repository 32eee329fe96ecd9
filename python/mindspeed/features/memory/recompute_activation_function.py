# SPDX-License-Identifier: Apache-2.0
"""The activation function of MLPs is computed again in the backward pass instead of keeping its output.

Megatron's forward of the MLP runs as it is. Between its two linear layers autograd keeps a note in place of every
tensor, and so does the second layer in place of its input. The first note that the backward pass asks for runs the part
between the layers again, from the first layer's output: the same operators on the same values.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from mindspeed.adaptor import Feature, Flag, Level, Patch
from mindspeed.features.memory._own_weight import own_weight
from mindspeed.features.memory._part import Part
from mindspeed.features.memory._place import is_chosen, numbering

_PLACE = "_place_in_chunk"  # of an MLP: how many layers of its chunk (or pipeline stage) come before its own


@dataclass(slots=True)
class _Stand:
    """What Megatron's forward sees as its MLP: the module, but for the two linear layers."""

    module: Any
    linear_fc1: _Layer
    linear_fc2: _Layer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)


class _Layer(torch.nn.Module):
    """A function in place of a layer; from 0.17 on Megatron calls nothing but modules."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self._function = function

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)


def _alike(tensor: Any) -> Any:
    """The same values at the start of another graph."""
    return (
        tensor.detach().requires_grad_(tensor.requires_grad) if isinstance(tensor, torch.Tensor) else tensor
    )


def recomputing(forward: Callable[..., Any]) -> Callable[..., Any]:
    """MLP.forward, with the part between its linear layers run again in the backward pass."""

    @functools.wraps(forward)
    def recomputing_forward(self: Any, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if not (torch.is_grad_enabled() and _is_chosen(self)):
            return forward(self, hidden_states, *args, **kwargs)
        between = contextlib.ExitStack()
        part: Part | None = None

        def first(hidden: torch.Tensor) -> Any:
            nonlocal part
            output, bias = self.linear_fc1(hidden)
            inputs = _alike(output), _alike(bias)
            others = [_alike(value) for value in args], {name: _alike(kwargs[name]) for name in kwargs}

            def run() -> torch.Tensor:
                stand = _Stand(self, _Layer(lambda _: inputs), _Layer(lambda activated: (activated, None)))
                return forward(stand, None, *others[0], **others[1])[0]

            part = Part(run, "--recompute-activation-function", "the activation function")
            between.enter_context(part.noting())
            return output, bias

        def second(activated: torch.Tensor) -> Any:
            between.close()
            assert part is not None
            with part.noting_uses_of(activated):
                return self.linear_fc2(activated)

        with between:
            return forward(_Stand(self, _Layer(first), _Layer(second)), hidden_states, *args, **kwargs)

    return recomputing_forward


def _is_chosen(mlp: Any) -> bool:
    config = mlp.config
    return is_chosen(config, getattr(mlp, _PLACE, 0), config.recompute_activation_function_num_layers)


def _mlps(layer: Any) -> Iterator[Any]:
    """Experts as well."""
    from megatron.core.transformer.mlp import MLP

    return (module for module in layer.modules() if isinstance(module, MLP))


def check(args: Any) -> Iterator[str]:
    most = args.recompute_activation_function_num_layers
    layers = getattr(args, "num_layers", None)
    if most is not None and (most < 0 or (layers is not None and most > layers)):
        yield (
            f"--recompute-activation-function-num-layers is {most}, wanted 0 to --num-layers ({layers})"
            if layers is not None
            else f"--recompute-activation-function-num-layers is {most}, wanted 0 or more"
        )
    if getattr(args, "recompute_granularity", None) == "full" and args.recompute_method != "block":
        yield (
            "--recompute-granularity full without --recompute-method block recomputes every layer as a whole, its "
            "activation function too; give --recompute-method block, or leave one of the two out"
        )


FEATURE = Feature(
    name="recompute-activation-function",
    level=Level.ACCELERATION,
    flags=(
        Flag(
            "--recompute-activation-function",
            "Compute the activation function of MLPs again in the backward pass.",
        ),
        Flag(
            "--recompute-activation-function-num-layers",
            "In so many layers of each pipeline stage's chunk, after those recomputed as a whole; default: in all.",
            type=int,
            metavar="N",
        ),
    ),
    check=check,
    patches=(
        Patch("megatron.core.transformer.mlp:MLP.forward", recomputing, wraps=True),
        Patch(
            "megatron.core.transformer.transformer_layer:TransformerLayer.__init__",
            numbering(_PLACE, _mlps),
            wraps=True,
        ),
        *own_weight(),
    ),
)
