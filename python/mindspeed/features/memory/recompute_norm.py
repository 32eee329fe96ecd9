# SPDX-License-Identifier: Apache-2.0
"""The outputs of a layer's norms are computed again in the backward pass instead of being kept.

Megatron's forward of the layer runs as it is. What attention and MLP would keep of their inputs, which are outputs of norms,
is a note; the first one that the backward pass asks for runs the norm again, from the norm's input.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from mindspeed.adaptor import Conflict, Feature, Flag, Level, Patch
from mindspeed.features.memory._own_weight import own_weight
from mindspeed.features.memory._part import Part
from mindspeed.features.memory._place import is_chosen, numbering

_LAYER = "megatron.core.transformer.transformer_layer:TransformerLayer"
_PLACE = "_place_for_norms"
_NORMS = ("input_layernorm", "pre_mlp_layernorm")


def _find(noted: Any) -> Tensor:
    if isinstance(noted, Tensor):
        return noted
    part, place = noted
    found: Tensor = part.of_output(place)
    return found


class _Norms:
    """Of one forward pass of a layer."""

    def __init__(self) -> None:
        self._parts: dict[tuple[int, torch.dtype], Part] = {}
        self._outputs: list[
            Tensor
        ] = []  # until the layer is through: another tensor may not take their place

    @contextlib.contextmanager
    def watching(self, norm: torch.nn.Module) -> Iterator[None]:
        forward = norm.forward

        def watched(hidden: Tensor) -> Tensor:
            start = hidden.detach().requires_grad_(hidden.requires_grad)
            part = Part(lambda: forward(start), "--recompute-norm", "the norm")
            with part.noting():
                output: Tensor = forward(hidden)
            self._parts[output.untyped_storage().data_ptr(), output.dtype] = part
            self._outputs.append(output)
            return output

        before = vars(norm).get("forward")
        norm.forward = watched
        try:
            yield
        finally:
            del norm.forward
            if before is not None:
                norm.forward = before

    def close(self) -> None:
        """Autograd keeps `note`, and with it this object."""
        self._parts.clear()
        self._outputs.clear()

    def note(self, tensor: Tensor) -> Any:
        part = self._parts.get((tensor.untyped_storage().data_ptr(), tensor.dtype))
        return tensor if part is None else (part, (tensor.size(), tensor.stride(), tensor.storage_offset()))


def recomputing(forward: Callable[..., Any]) -> Callable[..., Any]:
    """TransformerLayer.forward."""

    @functools.wraps(forward)
    def recomputing_forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        most = self.config.recompute_norm_num_layers
        if not (torch.is_grad_enabled() and is_chosen(self.config, getattr(self, _PLACE, 0), most)):
            return forward(self, *args, **kwargs)
        with without_norms(self):
            return forward(self, *args, **kwargs)

    return recomputing_forward


@contextlib.contextmanager
def without_norms(layer: Any) -> Iterator[None]:
    """A forward pass of a layer that keeps no output of its norms."""
    norms = _Norms()
    with contextlib.ExitStack() as watched:
        for name in _NORMS:
            norm = getattr(layer, name)
            if next(norm.parameters(), None) is not None:  # a part of the linear layer behind it, otherwise
                watched.enter_context(norms.watching(norm))
        watched.callback(norms.close)
        watched.enter_context(saved_tensors_hooks(norms.note, _find))
        yield


def check(args: Any) -> Iterator[str]:
    most = args.recompute_norm_num_layers
    layers = getattr(args, "num_layers", None)
    if most is not None and (most < 0 or (layers is not None and most > layers)):
        wanted = f"0 to --num-layers ({layers})" if layers is not None else "0 or more"
        yield f"--recompute-norm-num-layers is {most}, wanted {wanted}"
    if getattr(args, "recompute_granularity", None) == "full" and args.recompute_method != "block":
        yield (
            "--recompute-granularity full without --recompute-method block recomputes every layer as a whole, its norms "
            "too; give --recompute-method block, or leave one of the two out"
        )
    if getattr(args, "use_legacy_models", False):
        yield "--use-legacy-models builds its layers in another way; leave one of the two out"


FEATURE = Feature(
    name="recompute-norm",
    level=Level.ACCELERATION,
    flags=(
        Flag("--recompute-norm", "Compute the outputs of a layer's norms again in the backward pass."),
        Flag(
            "--recompute-norm-num-layers",
            "In so many layers of each pipeline stage's chunk, after those recomputed as a whole; default: in all.",
            type=int,
            metavar="N",
        ),
    ),
    conflicts=(
        Conflict(feature="swap-attention", why="both decide where the inputs of attention and MLP are kept"),
    ),
    check=check,
    patches=(
        Patch(f"{_LAYER}.__init__", numbering(_PLACE, lambda layer: (layer,)), wraps=True),
        Patch(f"{_LAYER}.forward", recomputing, wraps=True),
        *own_weight(),
    ),
)
