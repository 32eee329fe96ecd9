# SPDX-License-Identifier: Apache-2.0
"""Copies of busy experts: which ones, by libmindspeed_adaptor (src/small/mindspeed_adaptor/hot_experts.c), and their weights.

Weights go out from their owners and gradients come back to them, over groups of ranks of their own, so that several are on the
way at once, and so that none waits for tokens that travel.
"""

from __future__ import annotations

import copy
import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mindspeed.adaptor.native import function
from mindspeed.features.moe._flight import Flight
from mindspeed.features.moe._groups import beside

LANE = 3  # of flights: weights


@dataclass(frozen=True, slots=True)
class Plan:
    """hot: experts that every rank has. load: tokens that each rank computes then."""

    hot: list[int]
    load: list[int]


def plan(counts: Sequence[Sequence[int]], copies: int) -> Plan:
    """`counts`: of each rank, how many of its tokens chose each expert."""
    ranks, experts = len(counts), len(counts[0])
    flat = (ctypes.c_int64 * (ranks * experts))(*(count for row in counts for count in row))
    hot, load, chosen = (ctypes.c_int32 * max(copies, 1))(), (ctypes.c_int64 * ranks)(), ctypes.c_size_t()
    find = function(
        "hc_hot_experts",
        ctypes.c_size_t,
        ctypes.c_size_t,
        ctypes.POINTER(ctypes.c_int64),
        ctypes.c_size_t,
        ctypes.POINTER(ctypes.c_int32),
        ctypes.POINTER(ctypes.c_size_t),
        ctypes.POINTER(ctypes.c_int64),
    )
    if find(ranks, experts, flat, copies, hot, ctypes.byref(chosen), load) != 0:
        raise ValueError(
            f"--balanced-moe-experts: no plan for {experts} experts on {ranks} ranks, wanted a multiple of the ranks and counts "
            "of 0 and more"
        )
    return Plan(list(hot[: chosen.value]), list(load))


class Bring(torch.autograd.Function):
    """Matrices [experts, ...] of this rank -> those of the hot experts [hot, ...] of all ranks; gradients are summed by the owners."""

    @staticmethod
    def forward(ctx: Any, matrices: Tensor, hot: list[int], group: Any, lanes: int) -> Tensor:
        ctx.hot, ctx.group, ctx.lanes, ctx.shape = hot, group, lanes, matrices.shape
        ranks = torch.distributed.get_process_group_ranks(group)
        rank, each = torch.distributed.get_rank(group), matrices.shape[0]
        found = matrices.new_empty(len(hot), *matrices.shape[1:])
        groups = beside(group, "hot experts", lanes)
        works = []
        for place, expert in enumerate(hot):
            home, at = divmod(expert, each)
            if home == rank:
                found[place].copy_(matrices[at])
            lane = groups[place % lanes]
            works.append(torch.distributed.broadcast(found[place], ranks[home], lane, async_op=True))
        for work in works:
            work.wait()
        return found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        ranks = torch.distributed.get_process_group_ranks(ctx.group)
        rank, each = torch.distributed.get_rank(ctx.group), ctx.shape[0]
        groups = beside(ctx.group, "gradients of hot experts", ctx.lanes)
        gradient = gradient.contiguous().clone()  # is summed in place
        works = [
            torch.distributed.reduce(
                gradient[place], ranks[expert // each], group=groups[place % ctx.lanes], async_op=True
            )
            for place, expert in enumerate(ctx.hot)
        ]
        result = gradient.new_zeros(ctx.shape)
        for place, (expert, work) in enumerate(zip(ctx.hot, works, strict=True)):
            work.wait()
            if expert // each == rank:
                result[expert % each].copy_(gradient[place])
        return result, None, None, None


class Copies:
    """Of the experts that are hot in one pass of a layer."""

    def __init__(self, layer: Any, tokens: Tensor, probs: Tensor, routing_map: Tensor) -> None:
        from megatron.core import parallel_state

        config = layer.config
        self._layer, self._tokens, self._probs, self._map = layer, tokens, probs, routing_map
        group = parallel_state.get_expert_model_parallel_group()
        local = routing_map.sum(dim=0)
        counts = local.new_empty(group.size() * local.numel())
        torch.distributed.all_gather_into_tensor(counts, local, group=group)
        table = counts.view(group.size(), -1).tolist()
        mine = table[group.rank()]
        self.hot = plan(table, config.balanced_moe_hot_expert_num).hot
        self._counts = [mine[expert] for expert in self.hot]
        self.cold_rows = sum(mine) - sum(self._counts)
        self.cold_map = routing_map
        if self.hot:
            self._index = torch.tensor(self.hot, device=tokens.device)
            self.cold_map = routing_map.index_fill(1, self._index, False)
            lanes = min(config.trans_hot_expert_group_num, config.balanced_moe_hot_expert_num)
            # On the way while tokens of the other experts travel.
            self._flight = Flight(LANE)
            each, hidden = layer.num_local_experts, config.hidden_size
            shapes = (each, hidden, -1), (each, -1, hidden)
            self._weights = [
                self._flight.start(Bring.apply, weight.view(shape), self.hot, group, lanes)
                for weight, shape in zip((layer.experts.weight1, layer.experts.weight2), shapes, strict=True)
            ]

    def output(self) -> Tensor | None:
        """Of this rank's tokens, what hot experts add to them."""
        if not self.hot:
            return None
        from megatron.core.transformer.moe import moe_utils

        config = self._layer.config
        tokens = self._tokens.view(-1, self._tokens.shape[-1])
        chosen = self._map.index_select(1, self._index)
        options = {"fused": config.moe_permute_fusion}
        rows, probs, order = moe_utils.permute(
            tokens,
            chosen,
            probs=self._probs.index_select(1, self._index),
            num_out_tokens=sum(self._counts),
            **options,
        )
        self._flight.wait()
        experts = self._with_weights(self._layer.experts)
        computed, _ = type(experts).forward(experts, rows, torch.tensor(self._counts), probs)
        whole = moe_utils.unpermute(
            computed, order, restore_shape=tokens.shape, routing_map=chosen, **options
        )
        return whole.view(self._tokens.shape)

    def _with_weights(self, experts: Any) -> Any:
        """The rank's experts, as they would be if the hot ones were theirs."""
        found = copy.copy(experts)
        vars(found)["_parameters"] = {}
        vars(found).update(
            weight1=self._weights[0], weight2=self._weights[1], num_local_experts=len(self.hot)
        )
        return found
