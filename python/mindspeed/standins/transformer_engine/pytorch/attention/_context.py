# SPDX-License-Identifier: Apache-2.0
"""Attention of a sequence that is dealt out to the ranks of a context-parallel group.

A rank has the r-th of 2n chunks of each sequence and the r-th from the end, so that causal attention is even work. Keys and
values are gathered, their gradients summed and scattered; the queries stay. Every cp_comm_type gives this result, they
differ in messages and memory: here a layer's keys and values are whole for its time.
"""

from __future__ import annotations

from typing import Any

import torch

from mindspeed.ops.attention import BOTTOM_RIGHT, Core, attend, attend_packed, window_mask


class _Gather(torch.autograd.Function):
    """[n, ...] -> [ranks * n, ...]; the gradient is summed and scattered."""

    @staticmethod
    def forward(ctx: Any, part: torch.Tensor, group: Any) -> torch.Tensor:
        ctx.group = group
        whole = part.new_empty((part.shape[0] * torch.distributed.get_world_size(group), *part.shape[1:]))
        torch.distributed.all_gather_into_tensor(whole, part.contiguous(), group=group)
        return whole

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        part = grad.new_empty((grad.shape[0] // torch.distributed.get_world_size(ctx.group), *grad.shape[1:]))
        torch.distributed.reduce_scatter_tensor(part, grad.contiguous(), group=ctx.group)
        return part, None


def place_in(groups: list[Any]) -> tuple[int, int]:
    """(rank, size) in the group that the levels make together, the first level innermost."""
    rank, size = 0, 1
    for group in groups:
        rank += torch.distributed.get_rank(group) * size
        size *= torch.distributed.get_world_size(group)
    return rank, size


def gather_ranks(part: torch.Tensor, groups: list[Any]) -> torch.Tensor:
    """Level by level; ranks one behind the other along the first dimension."""
    for group in groups:
        part = _Gather.apply(part, group)
    return part


def chunks_of(rank: int, size: int) -> tuple[int, int]:
    return rank, 2 * size - 1 - rank


def whole_sequence(part: torch.Tensor, groups: list[Any]) -> torch.Tensor:
    """[s / ranks, ...] -> [s, ...] in the order of the sequence."""
    _, size = place_in(groups)
    pieces = gather_ranks(part, groups).chunk(2 * size)
    held = [chunk for rank in range(size) for chunk in chunks_of(rank, size)]
    return torch.cat([pieces[held.index(chunk)] for chunk in range(2 * size)])


def attend_parts(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    core: Core,
    groups: list[Any],
    *,
    causal: bool,
    mask: torch.Tensor | None,
    window: tuple[int, int] | None,
) -> torch.Tensor:
    """[b,s,h,d] as in attend; a mask has this rank's queries and all keys."""
    rank, size = place_in(groups)
    k, v = (whole_sequence(x.transpose(0, 1), groups).transpose(0, 1) for x in (k, v))
    if not causal and window is None:
        return attend(q, k, v, core, mask=mask)
    length = q.shape[1] // 2
    outs = []
    for part, queries, seen in zip(chunks_of(rank, size), q.split(length, 1), (0, 1), strict=True):
        keys = (part + 1) * length if causal else k.shape[1]
        cut = None if mask is None else mask[..., seen * length : (seen + 1) * length, :keys]
        if window is not None:
            near = window_mask(length, keys, window, q.device, first_query=part * length)
            cut = near if cut is None else cut | near
        outs.append(
            attend(queries, k[:, :keys], v[:, :keys], core, mask=cut, causal=BOTTOM_RIGHT if causal else 0)
        )
    return torch.cat(outs, 1)


def attend_packed_parts(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    q_ends: list[int],
    k_ends: list[int],
    core: Core,
    groups: list[Any],
    *,
    causal: bool,
    window: tuple[int, int] | None,
) -> torch.Tensor:
    """[t,h,d] as in attend_packed; ends are those of the whole sequences, each a multiple of 2n long."""
    rank, size = place_in(groups)
    keys: list[torch.Tensor] = []
    values: list[torch.Tensor] = []
    queries_of: list[int] = []
    keys_of: list[int] = []
    gathered = [gather_ranks(x, groups).chunk(size) for x in (k, v)]
    begin = 0
    for end in k_ends:
        low, high = begin // size, end // size
        for ranks, wholes in zip(gathered, (keys, values), strict=True):
            halves = [r[low:high].chunk(2) for r in ranks]
            wholes.append(torch.cat([h[0] for h in halves] + [h[1] for h in reversed(halves)]))
        begin = end
    seen: list[list[torch.Tensor]] = [[], []]
    begin = 0
    for i, end in enumerate(q_ends):
        length = (end - begin) // (2 * size)
        for part in chunks_of(rank, size):
            visible = (part + 1) * length if causal else keys[i].shape[0]
            queries_of.append(length)
            keys_of.append(visible)
            seen[0].append(keys[i][:visible])
            seen[1].append(values[i][:visible])
        begin = end
    ends = [torch.tensor(x).cumsum(0).tolist() for x in (queries_of, keys_of)]
    if window is not None and not causal:
        raise NotImplementedError("packed sequences, context parallelism and a window need a causal mask")
    total = ends[0][-1]
    out = attend_packed(
        q[:total], torch.cat(seen[0]), torch.cat(seen[1]), ends[0], ends[1], core,
        causal=BOTTOM_RIGHT if causal else 0, window=window,
    )  # fmt: skip
    return torch.cat((out, out.new_zeros((q.shape[0] - total, *out.shape[1:]))))
