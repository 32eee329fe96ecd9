# SPDX-License-Identifier: Apache-2.0
"""Rows of tokens are put together by expert, and back.

The map that a permutation returns is [2, n]: of each row the token it comes from, and its expert. It is ours to read.
"""

from __future__ import annotations

from typing import Any

import torch

from mindspeed.standins.refusal import missing_attribute

__getattr__ = missing_attribute(__name__)


def _by_mask(routing_map: torch.Tensor) -> torch.Tensor:
    """[2, n] in the order of the experts, for each in the order of its tokens."""
    tokens, experts = routing_map.shape
    chosen = routing_map.bool().t().contiguous()
    device = routing_map.device
    token = torch.arange(tokens, device=device).expand(experts, -1).masked_select(chosen)
    expert = torch.arange(experts, device=device).unsqueeze(1).expand(-1, tokens).masked_select(chosen)
    return torch.stack((token, expert))


def _by_index(indices: torch.Tensor, wanted: int) -> torch.Tensor:
    """From [tokens, k] experts; the second row is the place in the token's choice, not the expert."""
    choices = indices.shape[1]
    order = torch.sort(indices.reshape(-1), stable=True).indices
    order = order[:wanted] if wanted > 0 else order
    return torch.stack((order // choices, order % choices))


def moe_permute(
    inp: torch.Tensor,
    routing_map: torch.Tensor,
    num_out_tokens: int = -1,
    max_token_num: int = -1,
    map_type: str = "mask",
) -> tuple[torch.Tensor, torch.Tensor]:
    """(rows by expert, map); routing_map [tokens, experts] says who goes where, or [tokens, k] names experts."""
    if map_type == "index":
        rows = _by_index(routing_map, num_out_tokens)
    elif map_type == "mask":
        rows = _by_mask(routing_map)
    else:
        raise ValueError(f"moe_permute: map_type={map_type!r}, wanted 'mask' or 'index'")
    return inp.index_select(0, rows[0]), rows


def moe_permute_with_probs(
    inp: torch.Tensor,
    probs: torch.Tensor,
    routing_map: torch.Tensor,
    num_out_tokens: int = -1,
    **options: Any,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(rows by expert, the probability of each, map)"""
    rows = _by_mask(routing_map)
    chosen = probs.t().contiguous().masked_select(routing_map.bool().t().contiguous())
    return inp.index_select(0, rows[0]), chosen, rows


def moe_unpermute(
    inp: torch.Tensor,
    row_id_map: torch.Tensor,
    merging_probs: torch.Tensor | None = None,
    restore_shape: torch.Size | None = None,
    map_type: str = "mask",
    probs: torch.Tensor | None = None,
) -> torch.Tensor:
    """Each token is the sum of its rows, weighted by merging_probs [tokens, experts] (by index: [tokens, k])."""
    weights = merging_probs if merging_probs is not None else probs
    token, column = row_id_map[0], row_id_map[1]
    dtype = inp.dtype
    if weights is not None:
        inp = inp * weights[token, column].unsqueeze(-1)
    if restore_shape is None:
        if weights is None:
            raise ValueError("moe_unpermute: restore_shape or merging_probs must tell the number of tokens")
        restore_shape = torch.Size((weights.shape[0], inp.shape[1]))
    out = torch.zeros(restore_shape, dtype=inp.dtype, device=inp.device)
    return out.scatter_add(0, token.unsqueeze(1).expand(-1, inp.shape[1]), inp).to(dtype)


def moe_sort_chunks_by_index(
    inp: torch.Tensor, split_sizes: torch.Tensor, sorted_index: torch.Tensor
) -> torch.Tensor:
    """Cut the rows into chunks and put these into another order."""
    chunks = torch.split(inp, split_sizes.tolist())
    return torch.cat([chunks[i] for i in sorted_index.tolist()])


def moe_sort_chunks_by_index_with_probs(
    inp: torch.Tensor, probs: torch.Tensor, split_sizes: torch.Tensor, sorted_index: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same for rows and their probabilities."""
    return (
        moe_sort_chunks_by_index(inp, split_sizes, sorted_index),
        moe_sort_chunks_by_index(probs, split_sizes, sorted_index),
    )
