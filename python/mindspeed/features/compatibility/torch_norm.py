# SPDX-License-Identifier: Apache-2.0
"""Megatron's norms are those of PyTorch when "persistent" ones are asked for, and with sequence parallelism.

Persistent layer norm is a CUDA kernel of Apex that computes the same; Megatron asks for it by default and
refuses to build the PyTorch norm in its place. It refuses sequence parallelism as well, where the norm does nothing
but mark its parameters: their gradients are then summed over the ranks that share the sequence.
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


FEATURE = Feature(
    name="torch-norm",
    level=Level.COMPATIBILITY,
    patches=(
        Patch("megatron.core.transformer.torch_norm:WrappedTorchNorm.__new__", accept_more, wraps=True),
    ),
)
