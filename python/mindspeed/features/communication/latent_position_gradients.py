# SPDX-License-Identifier: Apache-2.0
"""In latent attention over tensor-parallel ranks the gradient of keys' positions is summed over the ranks' heads.

The part of a key that carries its position is one for all heads. Each tensor-parallel rank works out the gradient that its own
heads give to it, and Megatron (seen from 0.12.1 to 0.19.0) drops those of the others: where the projection to latents is
split over ranks, as in the local layers of all releases and in those of Transformer Engine up to 0.12, or where it is whole on each rank and
the sequence is not split. Training goes on with wrong gradients of that projection and of all layers below.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.flags import Flag
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch
from mindspeed.features.communication._linears import tensor_parallel_group

_LATENTS = "megatron.core.transformer.multi_latent_attention"
_METHOD = "0.17.0"  # from then on one projects to queries and latents, and may do so in one product


class _SummedPositions(torch.autograd.Function):
    """The same tensor; the gradient of its last `width` columns is summed over the group."""

    @staticmethod
    def forward(ctx: Any, latents: Tensor, width: int, group: Any) -> Tensor:
        ctx.width, ctx.group = width, group
        return latents.view_as(latents)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        gradient = gradients[0].clone()
        positions = gradient[..., -ctx.width :].contiguous()
        torch.distributed.all_reduce(positions, group=ctx.group)
        gradient[..., -ctx.width :] = positions
        return gradient, None, None


def _noted_or_summed(attention: Any, latents: Tensor) -> Tensor:
    """What the projection to latents gave: a share notes for the gathering what to sum, and whole latents are summed here."""
    config = attention.config
    width, group = config.qk_pos_emb_head_dim, tensor_parallel_group(getattr(attention, "tp_group", None))
    if group.size() == 1:
        return latents
    if latents.size(-1) != config.kv_lora_rank + width:
        latents.summed_positions = (width, group)
        return latents
    if config.sequence_parallel:  # gathering the sequence sums already
        return latents
    summed: Tensor = _SummedPositions.apply(latents, width, group)
    return summed


def with_sums(init: Callable[..., None]) -> Callable[..., None]:
    """MLASelfAttention.__init__ of releases that have no method for the projection."""

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)

        def after(_module: Any, _inputs: Any, output: tuple[Tensor, Any]) -> tuple[Tensor, Any]:
            return _noted_or_summed(self, output[0]), *output[1:]

        self.linear_kv_down_proj.register_forward_hook(after)

    return __init__


def with_sums_after(project: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., tuple[Tensor, Tensor]]:
    """The method that projects to queries and latents."""

    def _qkv_down_projection(self: Any, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        queries, latents = project(self, *args, **kwargs)
        return queries, _noted_or_summed(self, latents)

    return _qkv_down_projection


def summing(gather: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """gather_from_tensor_model_parallel_region, as latent attention calls it."""

    def gather_latents(input_: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        gathered = gather(input_, *args, **kwargs)
        noted = getattr(input_, "summed_positions", None)
        return gathered if noted is None else _SummedPositions.apply(gathered, *noted)

    return gather_latents


FEATURE = Feature(
    name="latent-position-gradients",
    level=Level.AFFINITY,
    flags=(
        Flag(
            "--latent-position-gradients",
            "Latent attention over tensor-parallel ranks sums the gradients of keys' positions, which Megatron does not.",
            negative="--no-latent-position-gradients",
        ),
    ),
    patches=(
        Patch(f"{_LATENTS}:MLASelfAttention.__init__", with_sums, wraps=True, until=_METHOD),
        Patch(
            f"{_LATENTS}:MLASelfAttention._qkv_down_projection", with_sums_after, wraps=True, since=_METHOD
        ),
        Patch(
            f"{_LATENTS}:FusedMLASelfAttention._qkv_down_projection",
            with_sums_after,
            wraps=True,
            since=_METHOD,
        ),
        Patch(f"{_LATENTS}:gather_from_tensor_model_parallel_region", summing, wraps=True),
    ),
)
