# SPDX-License-Identifier: Apache-2.0
"""Whose copy lies with whom, how it gets there, and which step all ranks can go back to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist

_PIECE = 32 << 20  # bytes on the device at a time
Offer = tuple[int, int]  # owner of a copy, and its step


@dataclass(frozen=True, slots=True)
class Ring:
    """`to` keeps this rank's copy, and this rank that of `source`; with one rank both are itself."""

    to: int
    source: int


def ring() -> Ring:
    """Over hosts: the same place on the next host. On one: the next rank of the same data-parallel group, which has the same
    parameters, so that often there is nothing to send; without data parallelism the next rank of all."""
    from megatron.core import parallel_state

    rank, world = dist.get_rank(), dist.get_world_size()
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    if world > local:
        return Ring((rank + local) % world, (rank - local) % world)
    group = parallel_state.get_data_parallel_group(with_context_parallel=True)
    ranks = dist.get_process_group_ranks(group) if group.size() > 1 else list(range(world))
    at = ranks.index(rank)
    return Ring(ranks[(at + 1) % len(ranks)], ranks[at - 1])


def exchange(
    out: torch.Tensor | None, to: int, into: torch.Tensor | None, source: int, device: torch.device
) -> None:
    """Bytes of the host to one rank and from one rank, in pieces over the devices' communicator; None: nothing in that
    direction. Waits until all are there."""
    lengths = [part.numel() for part in (out, into) if part is not None]
    for at in range(0, max(lengths, default=0), _PIECE):
        messages = []
        if out is not None and at < out.numel():
            messages.append(dist.P2POp(dist.isend, out[at : at + _PIECE].to(device), to))
        came = None
        if into is not None and at < into.numel():
            came = torch.empty(min(_PIECE, into.numel() - at), dtype=torch.uint8, device=device)
            messages.append(dist.P2POp(dist.irecv, came, source))
        for message in dist.batch_isend_irecv(messages):
            message.wait()
        if came is not None and into is not None:
            into[at : at + came.numel()].copy_(came)


def sizes_and_sums(size: int, checksum: int, device: torch.device) -> list[tuple[int, int]]:
    """Of the copies of all ranks: (bytes, checksum), the latter as a signed number."""
    signed = checksum - (1 << 64) if checksum >> 63 else checksum
    mine = torch.tensor([size, signed], dtype=torch.int64, device=device)
    every = torch.empty(dist.get_world_size() * 2, dtype=torch.int64, device=device)
    dist.all_gather_into_tensor(every, mine)
    return [(pair[0], pair[1]) for pair in every.view(-1, 2).tolist()]


def newest_of_all(offers: Sequence[Sequence[Offer]], world: int) -> tuple[int, list[int]] | None:
    """`offers`: by rank what it holds. The newest step of which every owner's copy is somewhere, and by owner who gives it:
    the owner itself where it can."""
    for step in sorted({step for of_rank in offers for _, step in of_rank}, reverse=True):
        holders = [[rank for rank, of_rank in enumerate(offers) if (owner, step) in of_rank] for owner in range(world)]  # fmt: skip
        if all(holders):
            return step, [owner if owner in having else having[0] for owner, having in enumerate(holders)]
    return None


def hand_over(
    givers: Sequence[int], held: dict[int, torch.Tensor], sizes: dict[int, int], device: torch.device
) -> torch.Tensor:
    """By owner who gives its copy (`givers`); `held`: what this rank has, by owner. Returns the bytes of this rank's own."""
    rank = dist.get_rank()
    own = held.get(rank) if givers[rank] == rank else None
    for owner, giver in enumerate(givers):
        if owner != giver and rank == giver:
            exchange(held[owner], owner, None, owner, device)
        elif owner != giver and rank == owner:
            own = torch.empty(sizes[owner], dtype=torch.uint8)
            exchange(None, giver, own, giver, device)
    assert own is not None
    return own
