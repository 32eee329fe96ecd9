# SPDX-License-Identifier: Apache-2.0
"""Tokens to the ranks of their experts, through these, and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.distributed.tensor import DTensor

from mindspeed.fsdp.distributed.dist_ops import all_to_all, gather_along_first_dim_expert_parallel
from mindspeed.fsdp.quantization.module.gmm_mxfp8 import mx_quant_group_gemm
from mindspeed.ops.gmm import npu_gmm_v2
from mindspeed.ops.npu_moe_token_permute import npu_moe_token_permute
from mindspeed.ops.npu_moe_token_unpermute import npu_moe_token_unpermute

__all__ = ["QUANTISED", "WEIGHTS", "experts_alone", "get_experts_forward_fn"]

WEIGHTS = ("gate_up_proj", "down_proj")  # [experts, out, in] or [experts, in, out]
QUANTISED = "_mindspeed_quantization"  # of experts: the plan by which their products are quantised


@dataclass(frozen=True, slots=True)
class Way:
    """Of this rank's tokens, sorted by expert: how many go to each rank, and what comes from each for which expert."""

    sent: list[int]
    got: list[int]
    experts: Tensor  # of the rows that come, the own expert of each
    counts: list[int]  # rows of each own expert


def _way(chosen: Tensor, experts: int, group: ProcessGroup) -> Way:
    size, rank = group.size(), group.rank()
    own = torch.bincount(chosen.reshape(-1), minlength=experts)
    counts, _ = gather_along_first_dim_expert_parallel(own, group)
    # One copy to the host: sizes of messages are needed there.
    table = counts.view(size, size, experts // size).cpu()  # from, to, expert
    come = table[:, rank]
    numbers = torch.arange(experts // size).repeat(size)
    rows = torch.repeat_interleave(numbers, come.reshape(-1)).to(chosen.device)
    return Way(table[rank].sum(-1).tolist(), come.sum(-1).tolist(), rows, come.sum(0).tolist())


def _sorted(x: Tensor, chosen: Tensor, fused: bool) -> tuple[Tensor, Tensor]:
    """Rows in the order of what they have chosen, and what brings them back."""
    if fused:
        return npu_moe_token_permute(x, chosen.to(torch.int32))
    order = torch.argsort(chosen.reshape(-1).to(torch.int32), stable=True)
    each = chosen.numel() // max(x.shape[0], 1)
    return x.index_select(0, order // max(each, 1)), order


def _back(x: Tensor, order: Tensor, weights: Tensor | None, fused: bool) -> Tensor:
    """The inverse; with weights [rows, choices] the weighted sum of the choices."""
    if fused:
        return npu_moe_token_unpermute(x, order, None if weights is None else weights.to(x.dtype))
    rows = torch.empty_like(order)
    rows[order] = torch.arange(order.numel(), device=order.device, dtype=order.dtype)
    x = x.index_select(0, rows)
    if weights is None:
        return x
    return (x.view(*weights.shape, -1) * weights.unsqueeze(-1)).sum(1).to(x.dtype)


def _local(weight: Tensor) -> Tensor:
    return weight.to_local() if isinstance(weight, DTensor) else weight


def _computed(module: nn.Module, x: Tensor, counts: list[int], fused: bool) -> Tensor:
    both, down = (_local(getattr(module, name)) for name in WEIGHTS)
    hidden, device = x.shape[-1], x.device
    is_out_in = both.shape[2] == hidden and down.shape[1] == hidden
    if not is_out_in and (both.shape[1] != hidden or down.shape[2] != hidden):
        raise ValueError(
            f"experts: gate_up_proj is {tuple(both.shape)} and down_proj {tuple(down.shape)}, for tokens of {hidden}"
        )
    groups = torch.tensor(counts, dtype=torch.int64, device=device)
    quantised = getattr(module, QUANTISED, None)

    def product(rows: Tensor, weight: Tensor) -> Tensor:
        if quantised is not None:
            return mx_quant_group_gemm(
                rows, weight, None, groups, torch.is_grad_enabled(), quantised, is_out_in=is_out_in
            )
        weight = weight.transpose(1, 2) if is_out_in else weight
        if fused:
            return npu_gmm_v2(rows, weight, group_list=groups)
        # Experts without tokens too: a weight that no rank's result depends on would have no gradient to send.
        parts = zip(rows.split(counts), weight.unbind(0), strict=True)
        return torch.cat([F.linear(part, matrix.t()) for part, matrix in parts])

    gate = getattr(module, "_apply_gate", None)
    middle = product(x, both)
    if gate is not None:
        middle = gate(middle)
    else:
        a, b = middle.chunk(2, dim=-1)
        middle = module.act_fn(a) * b
    return product(middle, down)


def _in_place(index: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Choices and their weights [tokens, choices]; some models give them the other way round, or weights of all experts."""
    if index.is_floating_point():
        index, weights = weights, index
    if weights.shape != index.shape:
        weights = weights.gather(1, index)
    return index, weights


def experts_alone(self: Any, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
    """forward of experts that are all here."""
    chosen, weights = _in_place(top_k_index, top_k_weights)
    tokens = hidden_states.reshape(-1, hidden_states.shape[-1])
    rows, home = _sorted(tokens, chosen, False)
    counts = torch.bincount(chosen.reshape(-1), minlength=getattr(self, WEIGHTS[0]).shape[0]).tolist()
    return _back(_computed(self, rows, counts, False), home, weights, False).view(hidden_states.shape)


def get_experts_forward_fn(ep_group: ProcessGroup, fused: bool) -> Callable[..., Tensor]:
    """forward(experts, tokens, choices, weights); fused: by grouped products and operators that move tokens."""

    def experts_forward(
        self: Any, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor
    ) -> Tensor:
        chosen, weights = _in_place(top_k_index, top_k_weights)
        tokens = hidden_states.reshape(-1, hidden_states.shape[-1])
        way = _way(chosen, self.num_global_experts, ep_group)
        rows, home = _sorted(tokens, chosen, fused)
        rows, order = _sorted(all_to_all(ep_group, rows, way.got, way.sent), way.experts, fused)
        rows = _back(_computed(self, rows, way.counts, fused), order, None, fused)
        rows = all_to_all(ep_group, rows, way.sent, way.got)
        return _back(rows, home, weights, fused).view(hidden_states.shape)

    return experts_forward
