# SPDX-License-Identifier: Apache-2.0
"""Attention whose blocks are computed where there is time for them, and not at all where the mask hides all of them.

The queries of a rank and the keys of a rank are a block. Which blocks the mask leaves is the same for all ranks, which plan
them alike: a block's keys travel to its queries, or its queries to its keys and the result back, so that no rank has more
blocks than it must. Results are merged by their maxima and sums.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch_npu
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.utils.weak import WeakTensorKeyDictionary

from mindspeed.features.fusion.flash_attention import MASK
from mindspeed.features.sequence._rounds import Block, Rounds, rounds_of
from mindspeed.features.sequence._softmax import Result, merged

Tensors = tuple[Tensor, ...]
Message = tuple[int, int, Tensors | None, Sequence[Tensor]]  # from, to, what is sent, what it is received in


@dataclass(frozen=True, slots=True)
class Seen:
    """Of a mask: rows of each rank's queries, [ranks, ..., own queries, whole sequence], and which blocks they leave."""

    rows: Tensor
    rounds: Rounds

    def of(self, block: Block) -> Tensor:
        chunks = self.rows[block.queries].chunk(2 * len(self.rows), dim=-1)
        return torch.cat([chunks[block.keys], chunks[-1 - block.keys]], dim=-1).to(torch.bool)


# Layers of a micro-batch have one mask.
_seen: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def seen_by_all(mask: Tensor, group: ProcessGroup) -> Seen:
    """`mask`: [..., own queries, whole sequence]; True where a key is hidden."""
    kept = _seen.get(mask)
    if kept is not None and kept[:2] == (mask._version, group):
        return kept[2]
    size = group.size()
    own = mask.to(torch.uint8).contiguous()
    rows = own.new_empty(size, *own.shape)
    torch.distributed.all_gather_into_tensor(rows, own, group=group)
    # Chunk c and the c-th from the end are of one rank.
    chunks = (rows == 0).flatten(1, -2).any(1).view(size, 2 * size, -1).any(-1)
    needed = (chunks[:, :size] | chunks[:, size:].flip(1)).cpu().to(torch.uint8)
    found = Seen(rows, rounds_of(needed.numpy().tobytes(), size))
    _seen[mask] = (mask._version, group, found)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptive:
    group: ProcessGroup
    seen: Seen
    scale: float
    keep: float = 1.0  # what dropout keeps
    overlap: bool = False  # what the next round needs travels while one is computed

    @property
    def rank(self) -> int:
        return int(self.group.rank())

    def mine(self, number: int) -> Block | None:
        """What this rank computes in a round."""
        return next((block for block in self.seen.rounds[number] if block.at == self.rank), None)

    def moved(self, number: int) -> Iterator[Block]:
        """Blocks of a round that are of two ranks."""
        return (block for block in self.seen.rounds[number] if block.queries != block.keys)

    def options(self, block: Block) -> dict[str, Any]:
        return {"atten_mask": self.seen.of(block).contiguous(), "sparse_mode": MASK}


class _Exchange:
    """Messages of a round, in the order in which all ranks know them."""

    def __init__(self, adaptive: Adaptive, messages: Sequence[Message]) -> None:
        ranks = torch.distributed.get_process_group_ranks(adaptive.group)
        p2p, ops, self._kept = torch.distributed.P2POp, [], messages
        for source, target, tensors, places in messages:
            if source == adaptive.rank:
                assert tensors is not None
                ops += [p2p(torch.distributed.isend, t, ranks[target], adaptive.group) for t in tensors]
            else:
                ops += [p2p(torch.distributed.irecv, t, ranks[source], adaptive.group) for t in places]
        self._works = torch.distributed.batch_isend_irecv(ops) if ops else []

    def wait(self) -> list[Sequence[Tensor]]:
        """What has come, in order."""
        for work in self._works:
            work.wait()
        return [places for _, _, _, places in self._kept if places]


def _messages(
    adaptive: Adaptive, number: int, to_queries: Tensors, to_keys: Tensors, is_result: bool = False
) -> list[Message]:
    """What travels for the blocks of a round: `to_queries` to where queries are, from where keys are, or the other way.

    Inputs go to who computes, results from there to whose they are.
    """
    found: list[Message] = []
    for block in adaptive.moved(number):
        is_at_queries = block.at == block.queries
        source, target = (block.keys, block.queries) if is_at_queries else (block.queries, block.keys)
        like = to_queries if is_at_queries else to_keys
        if is_result:
            source, target = target, source
        if adaptive.rank in (source, target):
            places = [torch.empty_like(t) for t in like] if adaptive.rank == target else []
            found.append((source, target, like if adaptive.rank == source else None, places))
    return found


class _Inputs:
    """What a round needs, begun a round ahead if messages may travel meanwhile."""

    def __init__(self, adaptive: Adaptive, keys: Tensors, queries: Tensors) -> None:
        self._adaptive, self._keys, self._queries = adaptive, keys, queries
        self._begun: dict[int, _Exchange] = {}

    def _begin(self, number: int) -> None:
        if number < len(self._adaptive.seen.rounds) and number not in self._begun:
            messages = _messages(self._adaptive, number, self._keys, self._queries)
            self._begun[number] = _Exchange(self._adaptive, messages)

    def of(self, number: int) -> tuple[Block | None, Tensors, Tensors]:
        """This rank's block, with queries and keys, and what goes with them."""
        self._begin(number)
        come = self._begun.pop(number).wait()
        if self._adaptive.overlap:
            self._begin(number + 1)
        block = self._adaptive.mine(number)
        queries, keys = self._queries, self._keys
        if block is not None and block.queries != block.keys:
            if block.at == block.queries:
                keys = tuple(come[0])
            else:
                queries = tuple(come[0])
        return block, queries, keys


def _packed(result: Result) -> Tensors:
    """As it travels: maxima and sums once, where the operator gives them eight times."""
    return result.out, result.most[..., 0].contiguous(), result.total[..., 0].contiguous()


def _unpacked(tensors: Sequence[Tensor]) -> Result:
    out, most, total = tensors
    return Result(out, *(t.unsqueeze(-1).expand(*t.shape, 8).contiguous() for t in (most, total)))


class _AdaptiveAttention(torch.autograd.Function):
    """[s, b, h, d] -> [s, b, h * d]"""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, adaptive: Adaptive) -> Tensor:
        heads, (query, key, value) = q.shape[2], (t.flatten(2).contiguous() for t in (q, k, v))
        s, b, _ = query.shape
        limits = torch.finfo(torch.float32)
        result = Result(  # nothing is seen yet
            query.new_zeros(query.shape, dtype=torch.float32),
            *(
                query.new_full((b, heads, s, 8), limit, dtype=torch.float32)
                for limit in (limits.min, limits.max)
            ),
        )
        inputs, states = _Inputs(adaptive, (key, value), (query,)), []
        for number in range(len(adaptive.seen.rounds)):
            block, (asked,), (of_k, of_v) = inputs.of(number)
            sent, state = _packed(result), None
            if block is not None:
                out, most, total, _, *state = torch_npu.npu_fusion_attention(
                    asked, of_k, of_v, heads, "SBH", scale=adaptive.scale, keep_prob=adaptive.keep,
                    **adaptive.options(block),
                )  # fmt: skip
                found = Result(out.float(), most, total)
                if block.queries == adaptive.rank:
                    result = merged(result, found)
                else:
                    sent = _packed(found)
            states.append(state)
            back = [m for m in _messages(adaptive, number, (), sent, is_result=True) if m[2] or m[3]]
            for tensors in _Exchange(adaptive, back).wait():
                result = merged(result, _unpacked(tensors))
        out = result.out.to(q.dtype)
        ctx.save_for_backward(q, k, v, out, result.most, result.total)
        ctx.adaptive, ctx.states = adaptive, states
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, out, most, total = ctx.saved_tensors
        adaptive, heads, result = ctx.adaptive, q.shape[2], Result(out, most, total)
        query, key, value = (t.flatten(2).contiguous() for t in (q, k, v))
        sums = [torch.zeros_like(t, dtype=torch.float32) for t in (query, key, value)]
        of_queries = (query, gradient.contiguous(), *_packed(result))
        inputs = _Inputs(adaptive, (key, value), of_queries)
        for number in range(len(adaptive.seen.rounds)):
            block, (asked, wanted, *softmax), (of_k, of_v) = inputs.of(number)
            found = sums
            if block is not None:
                seen, (seed, offset, numels) = _unpacked(softmax), ctx.states[number]
                found = torch_npu.npu_fusion_attention_grad(
                    asked, of_k, of_v, wanted, heads, "SBH", softmax_max=seen.most, softmax_sum=seen.total,
                    attention_in=seen.out, scale_value=adaptive.scale, keep_prob=adaptive.keep, seed=seed,
                    offset=offset, numels=numels, **adaptive.options(block),
                )[:3]  # fmt: skip
                found = [t.float() for t in found]
                _add(sums, found, block, adaptive.rank)
            keys_sent, queries_sent = tuple(found[1:]), (found[0],)
            back = _messages(adaptive, number, keys_sent, queries_sent, is_result=True)
            for tensors in _Exchange(adaptive, back).wait():
                for total_of, more in zip(sums[:1] if len(tensors) == 1 else sums[1:], tensors, strict=True):
                    total_of += more
        dq, dk, dv = sums
        return dq.view_as(q).to(q.dtype), dk.view_as(k).to(k.dtype), dv.view_as(v).to(v.dtype), None


def _add(sums: list[Tensor], found: list[Tensor], block: Block, rank: int) -> None:
    """What a block tells of this rank's own queries and keys."""
    if block.queries == rank:
        sums[0] += found[0]
    if block.keys == rank:
        sums[1] += found[1]
        sums[2] += found[2]


def adaptive_attention(
    q: Tensor, k: Tensor, v: Tensor, adaptive: Adaptive, random: contextlib.AbstractContextManager[Any]
) -> Tensor:
    """`random`: the state in which dropout draws."""
    with random:
        result: Tensor = _AdaptiveAttention.apply(q, k, v, adaptive)
    return result
