# SPDX-License-Identifier: Apache-2.0
"""Megatron's norms are those of PyTorch when "persistent" ones are asked for, and with sequence parallelism.

Persistent layer norm is a CUDA kernel of Apex that computes the same; Megatron asks for it by default and
refuses to build the PyTorch norm in its place. It refuses sequence parallelism as well, where the norm does nothing
but mark its parameters: their gradients are then summed over the ranks that share the sequence.

Where Apex is found, Megatron's layers that are not Transformer Engine's take FusedLayerNorm whatever the normalization
is, and earlier releases refuse RMSNorm there: it becomes the PyTorch norm.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch


def accept_more(new: Callable[..., Any]) -> Callable[..., Any]:
    """Build the norm from a config that asks for neither; mark its parameters."""

    def build(cls: type, config: Any, *args: Any, **kwargs: Any) -> Any:
        plain = copy.copy(config)
        plain.persist_layer_norm = plain.sequence_parallel = False
        norm = new(cls, plain, *args, **kwargs)
        for parameter in norm.parameters():
            parameter.sequence_parallel = config.sequence_parallel
        return norm

    return build


def rms_norm_too(layer_norm: type) -> type:
    """FusedLayerNorm, which gives the PyTorch norm for what is no LayerNorm."""

    class FusedLayerNorm(layer_norm):
        def __new__(cls, config: Any, hidden_size: int, eps: float = 1e-5, *args: Any, **kwargs: Any) -> Any:
            if config.normalization == "LayerNorm":
                return super().__new__(cls)
            from megatron.core.transformer.torch_norm import WrappedTorchNorm

            return WrappedTorchNorm(config, hidden_size, eps)

    FusedLayerNorm.__module__, FusedLayerNorm.__qualname__ = layer_norm.__module__, layer_norm.__qualname__
    return FusedLayerNorm


FEATURE = Feature(
    name="torch-norm",
    level=Level.COMPATIBILITY,
    patches=(
        Patch("megatron.core.transformer.torch_norm:WrappedTorchNorm.__new__", accept_more, wraps=True),
        Patch("megatron.core.fusions.fused_layer_norm:FusedLayerNorm", rms_norm_too, wraps=True),
    ),
)
