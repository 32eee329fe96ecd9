# SPDX-License-Identifier: Apache-2.0
"""Attention over a whole sequence with a part of the heads, under the names that other projects import.

The ranks of a group hold parts of a sequence, one behind the other, with all heads. Megatron's own attention does the same by
--context-parallel-algo ulysses_cp_algo, for parts as Megatron deals them out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from mindspeed import absent
from mindspeed.core.context_parallel.ulysses_context_parallel.unaligned_cp.mapping import (
    all_to_all,
    cal_split_sizes,
)

__all__ = [
    "DefaultGatherSizeCalculator",
    "DynamicGatherSizeCalculator",
    "GatherSizeCalculator",
    "UlyssesContextAttention",
]


class GatherSizeCalculator(ABC):
    """Says how long the whole sequence is, from what the attention is given beside queries, keys and values."""

    @abstractmethod
    def calculate(self, *args: Any, **kwargs: Any) -> int | None:
        """None: as long as the parts of all ranks together, which are as long as this one's."""


class DefaultGatherSizeCalculator(GatherSizeCalculator):
    def calculate(self, *args: Any, **kwargs: Any) -> int | None:
        return None


class DynamicGatherSizeCalculator(GatherSizeCalculator):
    """As long as the mask, which is given first."""

    def calculate(self, *args: Any, **kwargs: Any) -> int | None:
        mask = args[0] if args else None
        return int(mask.shape[-1]) if isinstance(mask, Tensor) else None


class _SeqAllToAll(torch.autograd.Function):
    """all_to_all() with the group first."""

    @staticmethod
    def forward(ctx: Any, group: ProcessGroup, input_: Tensor, scatter_idx: int, gather_idx: int) -> Tensor:
        ctx.back = (group, gather_idx, scatter_idx, input_.shape[scatter_idx])
        return all_to_all(input_, group, scatter_idx, gather_idx)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None, None]:
        return None, all_to_all(gradient, *ctx.back), None, None


class UlyssesContextAttention(torch.nn.Module):
    """[s / ranks, b, h, d] of queries, keys and values -> [s / ranks, b, h * d], by an attention that takes
    [s, b, h / ranks, d] and gives [s, b, h / ranks * d]."""

    def __init__(
        self,
        local_attention: torch.nn.Module,
        sequence_process_group: ProcessGroup,
        scatter_idx: int = 2,
        gather_idx: int = 0,
        gather_size_calculator: GatherSizeCalculator | None = None,
    ) -> None:
        super().__init__()
        self.local_attn = local_attention
        self._group = sequence_process_group
        self._heads, self._sequence = scatter_idx, gather_idx
        self._calculator = gather_size_calculator or DefaultGatherSizeCalculator()

    def forward(self, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        group, ranks = self._group, self._group.size()
        heads = query.shape[self._heads]
        repeats, rest = divmod(heads, key.shape[self._heads])
        if key.shape[self._heads] < ranks and not rest:
            key, value = (t.repeat_interleave(repeats, dim=self._heads) for t in (key, value))
        length = self._calculator.calculate(*args, **kwargs)
        wholes = [all_to_all(t, group, self._heads, self._sequence, length) for t in (query, key, value)]
        out = self.local_attn(*wholes, *args, **kwargs)
        # Heads are exchanged whole, which may be in one dimension with their width.
        own = cal_split_sizes(heads, ranks)[group.rank()]
        by_head = out.view(*out.shape[:2], own, -1)
        back = all_to_all(by_head, group, self._sequence, self._heads, heads)
        return back.flatten(2) if out.dim() == 3 else back


__getattr__ = absent.attributes(
    __name__,
    {
        "ulyssesattn_context_parallel": "keys and values are kept by --context-parallel-kv-cache-policy, with "
        "--context-parallel-algo ulysses_cp_algo",
    },
)
