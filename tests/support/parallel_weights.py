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


def _entries(tree: Any) -> Iterator[Any]:
    """Sharded tensors of a checkpoint, and factories: what a parameter is to several of these."""
    from megatron.core.dist_checkpointing import ShardedTensor
    from megatron.core.dist_checkpointing.mapping import ShardedTensorFactory

    if isinstance(tree, (ShardedTensor, ShardedTensorFactory)):
        yield tree
    elif isinstance(tree, (dict, list, tuple)):
        for value in tree.values() if isinstance(tree, dict) else tree:
            yield from _entries(value)


def _part(part: Any) -> Tensor:
    """Of the whole parameter, on this rank."""
    assert part.flattened_range is None
    whole = _whole(part.key, part.global_shape)
    return whole[part.global_slice()].reshape(part.data.shape).to(part.data)


def _values(tree: Any) -> Any:
    """In place of sharded tensors their values."""
    if isinstance(tree, dict):
        return {key: _values(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(_values(value) for value in tree)
    return _part(tree)


@torch.no_grad()
def set_weights(model: torch.nn.Module) -> None:
    """Overwrite every parameter of a bare model chunk."""
    parameters = {parameter.data_ptr(): parameter for parameter in model.parameters()}
    for entry in _entries(model.sharded_state_dict()):
        parameter = parameters.pop(entry.data.data_ptr(), None)
        if parameter is None:  # has its value already, under another name, or is no parameter
            continue
        value = entry.merge_fn(_values(entry.build())) if hasattr(entry, "merge_fn") else _part(entry)
        parameter.copy_(value.reshape(parameter.shape))
    assert not parameters, f"{len(parameters)} parameters of the model have got no value"
