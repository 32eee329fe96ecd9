# SPDX-License-Identifier: Apache-2.0
"""The activation function of MLPs is computed again in the backward pass instead of keeping its output.

Megatron's forward of the MLP runs as it is. Between its two linear layers autograd keeps a note in place of every
tensor, and so does the second layer in place of its input. The first note that the backward pass asks for runs the part
between the layers again, from the first layer's output: the same operators on the same values.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks

from mindspeed.adaptor import Feature, Flag, Level, Patch
from mindspeed.features.memory._own_weight import own_weight
from mindspeed.features.memory.recompute_layers_per_stage import place_in_stage

_PLACE = "_place_in_chunk"  # of an MLP: how many layers of its chunk (or pipeline stage) come before its own


class _Part:
    """The part between the linear layers, of one forward pass: runs again when a tensor of it is asked for."""

    def __init__(self, run: Callable[[], torch.Tensor]) -> None:
        self._run = run
        self._number = 0
        self._output: torch.Tensor | None = None
        self._tensors: dict[int, torch.Tensor] = {}

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """What is saved here is replaced by its number."""
        with saved_tensors_hooks(self._note, self._tensor):
            yield

    @contextlib.contextmanager
    def noting_uses_of(self, output: torch.Tensor) -> Iterator[None]:
        """What is saved here and lies in `output` is replaced by where it lies."""
        # Autograd keeps this function, which therefore must not keep the tensor.
        begin, dtype = output.untyped_storage().data_ptr(), output.dtype

        def note(tensor: torch.Tensor) -> Any:
            if tensor.untyped_storage().data_ptr() != begin or tensor.dtype != dtype:
                return tensor
            return tensor.size(), tensor.stride(), tensor.storage_offset()

        def find(noted: Any) -> torch.Tensor:
            return noted if isinstance(noted, torch.Tensor) else self._of_output(noted)

        with saved_tensors_hooks(note, find):
            yield

    def _note(self, tensor: torch.Tensor) -> int:
        self._number += 1
        return self._number

    def _of_output(self, place: tuple[Any, Any, int]) -> torch.Tensor:
        if self._output is None:
            self._again()
        assert self._output is not None
        return self._output.as_strided(*place)

    def _tensor(self, number: int) -> torch.Tensor:
        """Each is handed out once and then forgotten; asked for again (retain_graph), the part runs again."""
        if number not in self._tensors:
            self._again()
        self._output = None  # its consumer comes before the part in a backward pass
        return self._tensors.pop(number)

    def _again(self) -> None:
        found: list[torch.Tensor] = []

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            found.append(tensor.detach())
            return tensor

        with torch.enable_grad(), saved_tensors_hooks(keep, lambda tensor: tensor):
            output = self._run()
        if len(found) != self._number:
            raise RuntimeError(
                f"--recompute-activation-function: the activation function saved {self._number} tensors in the "
                f"forward pass and {len(found)} when it ran again; it must do the same both times"
            )
        self._tensors = dict(enumerate(found, 1))
        self._output = output.detach()


@dataclass(slots=True)
class _Stand:
    """What Megatron's forward sees as its MLP: the module, but for the two linear layers."""

    module: Any
    linear_fc1: Callable[..., Any]
    linear_fc2: Callable[..., Any]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)


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
        part: _Part | None = None

        def first(hidden: torch.Tensor) -> Any:
            nonlocal part
            output, bias = self.linear_fc1(hidden)
            inputs = _alike(output), _alike(bias)
            others = [_alike(value) for value in args], {name: _alike(kwargs[name]) for name in kwargs}

            def run() -> torch.Tensor:
                stand = _Stand(self, lambda _: inputs, lambda activated: (activated, None))
                return forward(stand, None, *others[0], **others[1])[0]

            part = _Part(run)
            between.enter_context(part.noting())
            return output, bias

        def second(activated: torch.Tensor) -> Any:
            between.close()
            assert part is not None
            with part.noting_uses_of(activated):
                return self.linear_fc2(activated)

        with between:
            return forward(_Stand(self, first, second), hidden_states, *args, **kwargs)

    return recomputing_forward


def _is_chosen(mlp: Any) -> bool:
    """Layers that are recomputed as a whole come first, then those of which the activation function is."""
    config = mlp.config
    place = getattr(mlp, _PLACE, 0)
    first = config.recompute_num_layers or 0 if config.recompute_granularity == "full" else 0
    most = config.recompute_activation_function_num_layers
    return place >= first and (most is None or place < first + most)


def numbering(init: Callable[..., None]) -> Callable[..., None]:
    """TransformerLayer.__init__, which tells the MLPs of the layer (experts as well) their place."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def numbered_init(self: Any, *args: Any, **kwargs: Any) -> None:
        from megatron.core.transformer.mlp import MLP

        init(self, *args, **kwargs)
        given = signature.bind(self, *args, **kwargs).arguments
        place = given.get("layer_number", 1) - 1
        if getattr(self.config, "enable_recompute_layers_per_pp_rank", False):
            place = place_in_stage(place, self.config, given.get("vp_stage"))
        for module in self.modules():
            if isinstance(module, MLP):
                setattr(module, _PLACE, place)

    return numbered_init


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
        Patch("megatron.core.transformer.transformer_layer:TransformerLayer.__init__", numbering, wraps=True),
        *own_weight(),
    ),
)
