# SPDX-License-Identifier: Apache-2.0
"""Initial weights that do not depend on the layout.

A parameter is made from its name and shape in the whole model, which Megatron tells for its checkpoints, and this
rank takes its part.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

STANDARD_DEVIATION = 0.1


def _whole(key: str, shape: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))
    noise = STANDARD_DEVIATION * torch.randn(shape, generator=generator)
    is_scale = key.endswith(("norm.weight", "norm_weight"))
    return 1.0 + noise if is_scale else noise


def _sharded_tensors(tree: Any) -> Iterator[Any]:
    from megatron.core.dist_checkpointing import ShardedTensor

    if isinstance(tree, ShardedTensor):
        yield tree
    elif isinstance(tree, (dict, list, tuple)):
        for value in tree.values() if isinstance(tree, dict) else tree:
            yield from _sharded_tensors(value)


@torch.no_grad()
def set_weights(model: torch.nn.Module) -> None:
    """Overwrite every parameter of a bare model chunk."""
    from megatron.core.dist_checkpointing.mapping import apply_factories

    state = model.sharded_state_dict()
    apply_factories(state)
    written = 0
    for part in _sharded_tensors(state):
        assert part.flattened_range is None
        part.data.copy_(_whole(part.key, part.global_shape)[part.global_slice()].reshape(part.data.shape))
        written += part.data.numel()
    wanted = sum(parameter.numel() for parameter in model.parameters())
    assert written == wanted, f"{written} of {wanted} numbers of the model have got their value"
