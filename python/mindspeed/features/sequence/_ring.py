# SPDX-License-Identifier: Apache-2.0
"""Attention of queries that stay to keys and values that go around a ring of ranks.

Every rank holds two chunks of the sequence, rank r the r-th and the r-th from the end, so under a causal mask each
step is the same work for all: to its own chunks a rank attends causally; of chunks that come from an earlier rank only
the first half lies before its queries, and before chunks from a later rank lie only its second half's queries. The
results of the steps are merged by their maxima and sums. In the backward pass keys and values go around once more, and
their gradients with them, in float32.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch_npu
from torch import Tensor
from torch.distributed import ProcessGroup

from mindspeed.features.fusion.flash_attention import CAUSAL, MASK, triangle

_Visible = tuple[
    slice, slice, dict[str, Any]
]  # rows of queries and of keys that meet, options of the operator


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    group: ProcessGroup
    scale: float
    keep: float = 1.0  # what dropout keeps
    causal: bool = True
    mask: Tensor | None = None  # [..., own queries, whole sequence]; True where a key is hidden
    fused: bool = False  # merge by the operator
    overlap: bool = False  # messages travel while a step is computed

    @property
    def ranks(self) -> list[int]:
        return list(torch.distributed.get_process_group_ranks(self.group))

    def source(self, step: int) -> int:
        """Whose keys are here at a step."""
        return (self.group.rank() - step) % self.group.size()

    def visible(self, step: int, length: int) -> _Visible:
        """`length`: of the two chunks of a rank."""
        every, half = slice(0, length), length // 2
        source, rank = self.source(step), self.group.rank()
        if self.mask is not None:
            chunks = self.mask.chunk(2 * self.group.size(), dim=-1)
            mask = torch.cat([chunks[source], chunks[-1 - source]], dim=-1)
            return every, every, {"atten_mask": mask.contiguous(), "sparse_mode": MASK}
        if not self.causal:
            return every, every, {}
        if source == rank:
            return (
                every,
                every,
                {
                    "atten_mask": triangle(torch.device("npu", torch.npu.current_device())),
                    "sparse_mode": CAUSAL,
                },
            )
        return (every, slice(0, half), {}) if source < rank else (slice(half, length), every, {})

    def pass_on(self, tensors: Sequence[Tensor]) -> _Passing:
        """To the next rank; what comes from the one before is there after wait()."""
        return _Passing(self, tensors)


class _Passing:
    def __init__(self, ring: Ring, tensors: Sequence[Tensor]) -> None:
        at, ranks = ring.group.rank(), ring.ranks
        self._sent = [tensor.contiguous() for tensor in tensors]  # kept until they have left
        self._got = [torch.empty_like(tensor) for tensor in self._sent]
        after, before = ranks[(at + 1) % len(ranks)], ranks[at - 1]
        p2p = torch.distributed.P2POp
        self._works = torch.distributed.batch_isend_irecv(
            [p2p(torch.distributed.isend, tensor, after, ring.group) for tensor in self._sent]
            + [p2p(torch.distributed.irecv, tensor, before, ring.group) for tensor in self._got]
        )

    def wait(self) -> list[Tensor]:
        for work in self._works:
            work.wait()
        return self._got


@dataclass(slots=True)
class _Result:
    """[s, b, h * d], and of each softmax [b, h, s, 8]."""

    out: Tensor
    most: Tensor
    total: Tensor

    def rows(self, which: slice) -> _Result:
        return _Result(
            self.out[which].contiguous(),
            self.most[:, :, which].contiguous(),
            self.total[:, :, which].contiguous(),
        )

    def write(self, which: slice, other: _Result) -> None:
        self.out[which] = other.out
        self.most[:, :, which] = other.most
        self.total[:, :, which] = other.total


_LEAST, _MOST = torch.finfo(torch.float32).min, torch.finfo(torch.float32).max


def merged(one: _Result, other: _Result) -> _Result:
    """Written out. Rows that see no key have the least maximum and the largest sum, as the operator gives them, and their
    sums must not be added up."""
    most = torch.maximum(one.most, other.most)
    base = torch.where(most <= _LEAST, 0.0, most)
    parts = [
        torch.where(part.most <= _LEAST, 0.0, part.total) * torch.exp(part.most - base)
        for part in (one, other)
    ]
    total = parts[0] + parts[1]
    shares = [torch.where(total > 0, part / total, 0.0) for part in parts]
    total = torch.where(total > 0, total, _MOST)
    s, b, width = one.out.shape
    heads = most.shape[1]
    out = sum(
        part.out.float().view(s, b, heads, -1) * share[..., :1].permute(2, 0, 1, 3)
        for part, share in zip((one, other), shares, strict=True)
    )
    assert isinstance(out, Tensor)
    return _Result(out.view(s, b, width).to(one.out.dtype), most, total)


def merged_by_operator(one: _Result, other: _Result) -> _Result:
    return _Result(
        *torch_npu.npu_ring_attention_update(
            one.out, one.most, one.total, other.out, other.most, other.total, input_layout="SBH"
        )
    )


class _RingAttention(torch.autograd.Function):
    """[s, b, h, d] -> [s, b, h * d]"""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, ring: Ring) -> Tensor:
        heads, length = q.shape[2], q.shape[0]
        query, held = q.flatten(2).contiguous(), [t.flatten(2).contiguous() for t in (k, v)]
        merge = merged_by_operator if ring.fused and ring.mask is None else merged
        result: _Result | None = None
        random: list[tuple[int, int, int]] = []
        for step in range(ring.group.size()):
            goes_on = step + 1 < ring.group.size()
            passing = ring.pass_on(held) if goes_on and ring.overlap else None
            queries, keys, options = ring.visible(step, length)
            out, most, total, _, *state = torch_npu.npu_fusion_attention(
                query[queries], held[0][keys], held[1][keys], heads, "SBH",
                scale=ring.scale, keep_prob=ring.keep, **options,
            )  # fmt: skip
            random.append(tuple(state))
            part = _Result(out.float(), most, total)
            if result is None:
                result = part
            else:
                result.write(queries, merge(result.rows(queries), part))
            if goes_on:
                held = (passing or ring.pass_on(held)).wait()
        assert result is not None
        out = result.out.to(q.dtype)
        ctx.save_for_backward(q, k, v, out, result.most, result.total)
        ctx.ring, ctx.random = ring, random
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, out, most, total = ctx.saved_tensors
        ring, length, heads = ctx.ring, q.shape[0], q.shape[2]
        query, held = q.flatten(2).contiguous(), [t.flatten(2).contiguous() for t in (k, v)]
        result, gradient = _Result(out, most, total), gradient.contiguous()
        own = torch.zeros_like(query, dtype=torch.float32)
        theirs = [torch.zeros_like(t, dtype=torch.float32) for t in held]
        for step in range(ring.group.size()):
            goes_on = step + 1 < ring.group.size()
            passing = ring.pass_on(held) if goes_on and ring.overlap else None
            queries, keys, options = ring.visible(step, length)
            seen, (seed, offset, numels) = result.rows(queries), ctx.random[step]
            dq, dk, dv, *_ = torch_npu.npu_fusion_attention_grad(
                query[queries].contiguous(), held[0][keys].contiguous(), held[1][keys].contiguous(),
                gradient[queries].contiguous(), heads, "SBH", softmax_max=seen.most, softmax_sum=seen.total,
                attention_in=seen.out, scale_value=ring.scale, keep_prob=ring.keep, seed=seed, offset=offset,
                numels=numels, **options,
            )  # fmt: skip
            own[queries] += dq
            theirs[0][keys] += dk
            theirs[1][keys] += dv
            if ring.group.size() > 1:  # after the last step they are back at their rank
                theirs = ring.pass_on(theirs).wait()
            if goes_on:
                held = (passing or ring.pass_on(held)).wait()
        dk, dv = theirs
        return own.view_as(q).to(q.dtype), dk.view_as(k).to(k.dtype), dv.view_as(v).to(v.dtype), None


def ring_attention(
    q: Tensor, k: Tensor, v: Tensor, ring: Ring, random: contextlib.AbstractContextManager[Any]
) -> Tensor:
    """`random`: the state in which dropout draws."""
    with random:
        result: Tensor = _RingAttention.apply(q, k, v, ring)
    return result
