# SPDX-License-Identifier: Apache-2.0
"""Work on lists of quantised weights, as Megatron's distributed optimizer asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from mindspeed.standins.refusal import RefusedError, missing_attribute

from ._quantized import QuantizedTensor

__getattr__ = missing_attribute(__name__)


def replace_raw_data(tensor: QuantizedTensor, new_raw_data: torch.Tensor) -> None:
    """The numbers move into a buffer of the caller's; scales stay where they are."""
    old = tensor._numbers.data
    if new_raw_data.dtype is not old.dtype or new_raw_data.shape != old.shape:
        raise ValueError(
            f"replace_raw_data: the buffer is {new_raw_data.dtype} {tuple(new_raw_data.shape)}, wanted {old.dtype} "
            f"{tuple(old.shape)}"
        )
    new_raw_data.detach().copy_(old)
    tensor._numbers.data = new_raw_data


@torch.no_grad()
def cast_master_weights_to_fp8(
    model_weights: Sequence[Any],
    master_weights: Sequence[torch.Tensor | None],
    start_offsets: Sequence[int | None],
    group: Any,
    fsdp_shard_model_weights: Any = None,
    **_: Any,
) -> None:
    """Each rank has the new values of its part of a weight, or of none of it; scales are those of the whole."""
    if len(model_weights) == 0:
        return
    if fsdp_shard_model_weights is not None:
        raise RefusedError(
            "cast_master_weights_to_fp8 of shards of weights",
            "Leave out --fp8-param-gather, or take the distributed optimizer without Megatron's FSDP",
        )
    parts = [
        weight._data.new_empty(0, dtype=weight.dtype)
        if master is None
        else master.detach().view(-1).to(weight.dtype)
        for weight, master in zip(model_weights, master_weights, strict=True)
    ]
    firsts = [first or 0 for first in start_offsets]
    found = [
        weight._numbers.form.largest(part, first, weight.shape)
        for weight, part, first in zip(model_weights, parts, firsts, strict=True)
    ]
    packed = torch.cat([each.reshape(-1) for each in found])
    if torch.distributed.get_world_size(group) > 1:
        torch.distributed.all_reduce(packed, op=torch.distributed.ReduceOp.MAX, group=group)
    reduced = packed.split([each.numel() for each in found])
    for weight, part, first, own, largest in zip(model_weights, parts, firsts, found, reduced, strict=True):
        weight.quantize_part_(part, first, largest.view(own.shape))


def post_all_gather_processing(model_weights: Sequence[Any], *args: Any, **kwargs: Any) -> None:
    """After numbers are gathered: there is one copy of them, which serves both products."""
