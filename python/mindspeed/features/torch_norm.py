# SPDX-License-Identifier: Apache-2.0
"""Megatron's norms are those of PyTorch when "persistent" ones are asked for.

Persistent layer norm is a CUDA kernel of Apex that computes the same; Megatron asks for it by default and
refuses to build the PyTorch norm in its place.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Feature, Patch


def accept_persistent(new: Callable[..., Any]) -> Callable[..., Any]:
    """Build the norm from a config that does not ask for the CUDA kernel."""

    def build(cls: type, config: Any, *args: Any, **kwargs: Any) -> Any:
        if config.persist_layer_norm:
            config = copy.copy(config)
            config.persist_layer_norm = False
        return new(cls, config, *args, **kwargs)

    return build


FEATURE = Feature(
    name="torch-norm",
    level=Level.COMPATIBILITY,
    patches=(
        Patch("megatron.core.transformer.torch_norm:WrappedTorchNorm.__new__", accept_persistent, wraps=True),
    ),
)
