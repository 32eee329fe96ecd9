# SPDX-License-Identifier: Apache-2.0
"""Chosen layers compute nothing: they fill places of the pipeline, so that stages with more to do get fewer layers.

--num-layers counts them, and the layers behind keep their numbers. Distributed checkpoints name every layer by its
number, because a stack of all layers would have holes.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from mindspeed.adaptor import Feature, Flag, Level, Patch, session

_BLOCK = "megatron.core.transformer.transformer_block:TransformerBlock"


def numbers(text: str) -> set[int]:
    """'7,0' -> {0, 7}; programs that read the argument ask for a set."""
    return {int(word) for word in text.split(",")}


class NoopLayer(torch.nn.Module):
    """In the place of a TransformerLayer, which Megatron builds with more arguments; layer numbers count from 1.

    number: within the model, where layer_number is what Megatron gives, the number within a stage.
    """

    def __init__(self, layer_number: int, config: Any = None, *, number: int | None = None, **_: Any) -> None:
        super().__init__()
        self.config = config
        self.layer_number = layer_number if number is None else number

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, Any]:
        # A copy, because pipeline schedules free what a stage has sent while its input is still needed.
        return hidden_states.clone(), kwargs.get("context")

    def sharded_state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {}


def _layers_before(block: Any) -> int:
    """In front of this stage's chunk."""
    from megatron.core.transformer.transformer_layer import get_transformer_layer_offset

    stage = (block.vp_stage,) if hasattr(block, "vp_stage") else ()
    offset: int = get_transformer_layer_offset(block.config, *stage)
    return offset


def leaving_out(build: Callable[[Any], None]) -> Callable[[Any], None]:
    """TransformerBlock._build_layers, with another recipe for the chosen layers."""

    def _build_layers(self: Any) -> None:
        from megatron.core.transformer.spec_utils import ModuleSpec

        submodules, first = self.submodules, _layers_before(self)
        specs = [
            ModuleSpec(module=NoopLayer, params={"number": index + 1})
            if index in self.config.noop_layers
            else spec
            for index, spec in enumerate(submodules.layer_specs, first)
        ]
        self.submodules = replace(submodules, layer_specs=specs)
        try:
            build(self)
        finally:
            self.submodules = submodules

    return _build_layers


def naming_by_number(sharded_state_dict: Callable[..., Any]) -> Callable[..., Any]:
    """TransformerBlock.sharded_state_dict."""

    def by_number(
        self: Any, prefix: str = "", sharded_offsets: tuple[Any, ...] = (), metadata: Any = None
    ) -> Any:
        named = {**(metadata or {}), "non_homogeneous_layers": True}
        return sharded_state_dict(self, prefix, sharded_offsets, named)

    return by_number


def experts_by_layer(frequency: Any, layers: int) -> list[int]:
    """Megatron's --moe-layer-freq written out: 1 for layers with experts."""
    if isinstance(frequency, list):
        return frequency
    return [int(index % (frequency or 1) == 0) for index in range(layers)]


def counting_others(count: Callable[[Any, int], float]) -> Callable[[Any, int], float]:
    """num_floating_point_operations, of the layers that compute."""

    def num_floating_point_operations(args: Any, batch_size: int) -> float:
        left_out = args.noop_layers or ()
        kept = [index for index in range(args.num_layers) if index not in left_out]
        others = Namespace(**vars(args))
        others.num_layers = len(kept)
        experts = experts_by_layer(getattr(args, "moe_layer_freq", None), args.num_layers)
        others.moe_layer_freq = [experts[index] for index in kept]
        return count(others, batch_size)

    return num_floating_point_operations


def averaging_over_others(track: Callable[..., None]) -> Callable[..., None]:
    """track_moe_metrics: mean losses of experts are over the layers that have some."""

    def track_moe_metrics(*args: Any, **kwargs: Any) -> None:
        if kwargs.get("num_layers") is not None:
            left_out = session.current_arguments().noop_layers
            experts = experts_by_layer(kwargs.get("moe_layer_freq"), kwargs["num_layers"])
            kwargs["moe_layer_freq"] = [has * (index not in left_out) for index, has in enumerate(experts)]
        track(*args, **kwargs)

    return track_moe_metrics


def check(args: Any) -> Iterator[str]:
    layers = getattr(args, "num_layers", None)
    wrong = [number for number in args.noop_layers if number < 0 or (layers is not None and number >= layers)]
    if wrong:
        yield f"--noop-layers names {wrong}: layers count from 0, and --num-layers is {layers}"
    if layers is not None and len(set(args.noop_layers)) >= layers:
        yield "--noop-layers leaves no layer"
    if getattr(args, "use_legacy_models", False):
        yield "--use-legacy-models builds its layers in another way; leave one of the two out"


FEATURE = Feature(
    name="noop-layers",
    level=Level.ACCELERATION,
    flags=(
        Flag(
            "--noop-layers",
            "Layers that compute nothing, counted from 0 and separated by commas.",
            type=numbers,
            metavar="N,N,...",
        ),
    ),
    check=check,
    patches=(
        Patch(f"{_BLOCK}._build_layers", leaving_out, wraps=True),
        Patch(f"{_BLOCK}.sharded_state_dict", naming_by_number, wraps=True),
        Patch("megatron.core.transformer.moe.moe_utils:track_moe_metrics", averaging_over_others, wraps=True),
        Patch(
            "megatron.training.training:num_floating_point_operations",
            counting_others,
            wraps=True,
            requires="megatron.training",
        ),
    ),
)
