# SPDX-License-Identifier: Apache-2.0
"""Layers of a stage with some that compute nothing, under the name that other projects import.

--noop-layers builds Megatron's own TransformerBlock so; this is for blocks of other projects.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from mindspeed.core.transformer.transformer_block import _get_layer_offset

__all__ = ["build_layers_impl"]


def build_layers_impl(
    transformer: Any, noop_transformer_layer: Callable[[int], Any], build_module: Callable[..., Any]
) -> None:
    """transformer.layers, and the norm behind them where the last stage has one."""
    config, specs = transformer.config, transformer.submodules
    first = _get_layer_offset(config)
    transformer.layers = torch.nn.ModuleList(
        noop_transformer_layer(first + number)
        if first + number - 1 in (config.noop_layers or ())
        else build_module(spec, config=config, layer_number=number)
        for number, spec in enumerate(specs.layer_specs, 1)
    )
    transformer.final_layernorm = None
    if specs.layer_norm and transformer.post_process and transformer.post_layer_norm:
        transformer.final_layernorm = build_module(
            specs.layer_norm, config=config, hidden_size=config.hidden_size, eps=config.layernorm_epsilon
        )
