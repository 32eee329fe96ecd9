# SPDX-License-Identifier: Apache-2.0
"""Tokens go to their experts and back by one operator each way, with gradients that are one as well.

Megatron writes a selection by mask, a gather and a scatter of sums. Here a token's rows are summed in float32 and rounded
once, and with padding to a capacity nothing is sorted. What the operators cannot express (tokens that do not have as
many experts each: dropped without padding) takes the way of Transformer Engine's stand-in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch_npu
from torch import Tensor

from mindspeed.adaptor.feature import Feature
from mindspeed.adaptor.flags import Flag
from mindspeed.adaptor.levels import Level
from mindspeed.adaptor.patching import Patch

_MODULE = "megatron.core.transformer.moe.moe_utils"
_DISPATCHERS = ("alltoall", "alltoall_seq")
Permuted = tuple[Tensor, Tensor | None, Tensor]


def is_expressible(tokens: Tensor, rows: Any, drop_and_pad: bool) -> bool:
    """As many rows for each expert, or for each token. Of tokens that are dropped Megatron counts the rest on the device."""
    if tokens.device.type != "npu" or not isinstance(rows, int):
        return False
    return drop_and_pad or (tokens.shape[0] > 0 and rows > 0 and rows % tokens.shape[0] == 0)


def fused_permute(written_out: Callable[..., Permuted]) -> Callable[..., Permuted]:
    def permute(
        tokens: Tensor,
        routing_map: Tensor,
        probs: Tensor | None = None,
        num_out_tokens: Any = None,
        fused: bool = False,
        drop_and_pad: bool = False,
    ) -> Permuted:
        if not fused or not is_expressible(tokens, num_out_tokens, drop_and_pad):
            return written_out(tokens, routing_map, probs, num_out_tokens, fused, drop_and_pad)
        rows, weights, places = torch_npu.npu_moe_token_permute_with_routing_map(
            tokens, routing_map.bool(), probs=probs, num_out_tokens=num_out_tokens, drop_and_pad=drop_and_pad
        )
        return rows, None if probs is None else weights, places

    return permute


def fused_unpermute(written_out: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def unpermute(
        permuted_tokens: Tensor,
        sorted_indices: Tensor,
        restore_shape: torch.Size,
        probs: Tensor | None = None,
        routing_map: Tensor | None = None,
        fused: bool = False,
        drop_and_pad: bool = False,
    ) -> Tensor:
        # What the operator did not permute has another kind of map: a row for the tokens, one for the experts.
        if not fused or sorted_indices.dim() != 1:
            return written_out(
                permuted_tokens, sorted_indices, restore_shape, probs, routing_map, fused, drop_and_pad
            )
        dtype = permuted_tokens.dtype
        if probs is not None and probs.dtype is not dtype:
            # The operator's gradient of the weights has the type of the tokens, and would be rounded to it.
            permuted_tokens, probs = permuted_tokens.float(), probs.float()
        result: Tensor = torch_npu.npu_moe_token_unpermute_with_routing_map(
            permuted_tokens, sorted_indices, list(restore_shape), probs=probs,
            routing_map=None if routing_map is None else routing_map.bool(), drop_and_pad=drop_and_pad,
        )  # fmt: skip
        return result.to(dtype)

    return unpermute


def wanted(args: Any) -> bool:
    """Megatron's own flag or the original's. Other dispatchers give a rank's experts tokens in uneven numbers."""
    asked = getattr(args, "moe_permute_fusion", False) or getattr(
        args, "use_fused_moe_token_permute_and_unpermute", False
    )
    return bool(asked) and getattr(args, "moe_token_dispatcher_type", "alltoall") in _DISPATCHERS


def adjust(args: Any) -> None:
    """The two flags mean the same; Megatron reads its own."""
    args.moe_permute_fusion = args.use_fused_moe_token_permute_and_unpermute = True


def check(args: Any) -> Iterable[str]:
    if getattr(args, "moe_token_dispatcher_type", "alltoall") == "alltoall_seq":
        yield "--moe-token-dispatcher-type alltoall_seq has no fused permutation in Megatron: give alltoall"


FEATURE = Feature(
    name="moe-permute-fusion",
    level=Level.ACCELERATION,
    flags=(
        Flag(
            "--moe-permute-fusion",
            "Tokens to their experts and back by one operator each way.",
            megatron=True,
        ),
        Flag("--use-fused-moe-token-permute-and-unpermute", "The same as --moe-permute-fusion."),
    ),
    switch=wanted,
    adjust=adjust,
    check=check,
    patches=(
        Patch(f"{_MODULE}:permute", fused_permute, wraps=True),
        Patch(f"{_MODULE}:unpermute", fused_unpermute, wraps=True),
    ),
)
