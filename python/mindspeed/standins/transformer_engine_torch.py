# SPDX-License-Identifier: Apache-2.0
"""MindSpeed's stand-in for the extension module of Transformer Engine, as far as Megatron calls it itself."""

from __future__ import annotations

import enum
import itertools

import torch

from mindspeed.standins.refusal import missing_attribute

__getattr__ = missing_attribute(__name__)


DType = enum.Enum(  # only names: what takes one is refused
    "DType", ["kByte", "kInt32", "kFloat32", "kFloat16", "kBFloat16", "kFloat8E4M3", "kFloat8E5M2"]
)


def thd_get_partitioned_indices(
    cu_seqlens: torch.Tensor, total_tokens: int, world_size: int, rank: int
) -> torch.Tensor:
    """The tokens of a context-parallel rank: of each packed sequence the r-th of 2n chunks and the r-th from the end."""
    pieces = []
    bounds = cu_seqlens.tolist()
    for begin, end in itertools.pairwise(bounds):
        chunk = (end - begin) // (2 * world_size)
        for part in (rank, 2 * world_size - 1 - rank):
            pieces.append(torch.arange(begin + part * chunk, begin + (part + 1) * chunk, dtype=torch.int32))
    return torch.cat(pieces).to(cu_seqlens.device)
