# SPDX-License-Identifier: Apache-2.0
"""Parts of a sequence with all heads <-> the whole sequence with parts of the heads, among context-parallel ranks.

Megatron's gated delta net has these two from core 0.18 on, and projects put them there before. Rank r of n holds the r-th of
2n chunks of the sequence and the r-th from the end.
"""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["tensor_a2a_cp2hp", "tensor_a2a_hp2cp"]


def _check(name: str, tensor: torch.Tensor, seq_dim: int, head_dim: int) -> None:
    if tensor.dim() != 3 or seq_dim != 0 or head_dim not in (-1, 2):
        raise ValueError(
            f"{name}: a tensor of {tensor.dim()} dimensions with seq_dim={seq_dim} and head_dim={head_dim}; wanted "
            "[sequence, batch, heads] with 0 and 2"
        )


def _sections(tensor: torch.Tensor, sizes: list[int] | None) -> tuple[torch.Tensor, ...]:
    """Each is dealt out by itself: queries, keys, values."""
    return (tensor,) if sizes is None else torch.split(tensor, sizes, dim=-1)


def _to_heads(part: torch.Tensor, group: Any) -> torch.Tensor:
    from megatron.core.tensor_parallel import mappings

    (length, batch, heads), ranks = part.shape, group.size()
    by_rank = part.reshape(length * batch, ranks, heads // ranks).transpose(0, 1).flatten(0, 1)
    return mappings.all_to_all(group, by_rank.contiguous()).view(ranks * length, batch, heads // ranks)


def _to_sequence(part: torch.Tensor, group: Any) -> torch.Tensor:
    from megatron.core.tensor_parallel import mappings

    (length, batch, heads), ranks = part.shape, group.size()
    by_rank = mappings.all_to_all(group, part.reshape(length * batch, heads).contiguous())
    by_token = by_rank.view(ranks, -1, heads).transpose(0, 1)
    return by_token.reshape(length // ranks, batch, ranks * heads)


def _held(ranks: int) -> list[int]:
    """The chunk at each place of what ranks hold, one behind the other."""
    return [chunk for rank in range(ranks) for chunk in (rank, 2 * ranks - 1 - rank)]


def tensor_a2a_cp2hp(
    tensor: torch.Tensor,
    seq_dim: int,
    head_dim: int,
    cp_group: Any,
    split_sections: list[int] | None = None,
    undo_attention_load_balancing: bool = True,
) -> torch.Tensor:
    """[s / n, b, h] -> [s, b, h / n]; split_sections are sizes before the exchange."""
    ranks = cp_group.size()
    if ranks == 1:
        return tensor
    _check("tensor_a2a_cp2hp", tensor, seq_dim, head_dim)
    whole = torch.cat([_to_heads(part, cp_group) for part in _sections(tensor, split_sections)], dim=-1)
    if undo_attention_load_balancing:
        chunks, held = whole.chunk(2 * ranks), _held(ranks)
        whole = torch.cat([chunks[held.index(chunk)] for chunk in range(2 * ranks)])
    return whole


def tensor_a2a_hp2cp(
    tensor: torch.Tensor,
    seq_dim: int,
    head_dim: int,
    cp_group: Any,
    split_sections: list[int] | None = None,
    redo_attention_load_balancing: bool = True,
) -> torch.Tensor:
    """[s, b, h / n] -> [s / n, b, h]; split_sections are sizes before the exchange."""
    ranks = cp_group.size()
    if ranks == 1:
        return tensor
    _check("tensor_a2a_hp2cp", tensor, seq_dim, head_dim)
    if redo_attention_load_balancing:
        chunks = tensor.chunk(2 * ranks)
        tensor = torch.cat([chunks[chunk] for chunk in _held(ranks)])
    return torch.cat([_to_sequence(part, cp_group) for part in _sections(tensor, split_sections)], dim=-1)
