# SPDX-License-Identifier: Apache-2.0
"""Attention of queries that stay to keys and values that go around a ring of ranks.

Every rank holds two chunks of the sequence, rank r the r-th and the r-th from the end, so under a causal mask each
step is the same work for all: to its own chunks a rank attends causally; of chunks that come from an earlier rank only
the first half lies before its queries, and before chunks from a later rank lie only its second half's queries. The
results of the steps are merged by their maxima and sums. In the backward pass keys and values go around once more, or
are those that were kept, and their gradients with them, in float32.

A ring of rings has windows of neighbours: keys go around in a window, and meanwhile those it began with to the next
one. What every step computes is the same.
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

from mindspeed.features.fusion.flash_attention import CAUSAL, MASK, triangle
from mindspeed.features.sequence._packed import Halves
from mindspeed.features.sequence._softmax import Result, Rows, merged, merged_by_operator

_MADE = 2  # the operator makes a bias of slopes and positions


@dataclass(frozen=True, slots=True)
class Part:
    """What meets in a step: some of the rank's queries and of the keys that are there, with options of the operator."""

    queries: Rows
    keys: Rows
    options: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    group: ProcessGroup  # the ring; of a ring of rings, the ranks in this rank's place of all windows
    window: ProcessGroup | None = None  # of a ring of rings: this rank's neighbours
    scale: float
    keep: float = 1.0  # what dropout keeps
    causal: bool = True
    mask: Tensor | None = None  # [..., own queries, whole sequence]; True where a key is hidden
    stretches: bool = (
        False  # rank r holds the r-th stretch of the sequence instead of two chunks; only with a mask
    )
    slopes: Tensor | None = None  # of each head, by which scores fall off with the distance
    packed: Halves | None = None
    fused: bool = False  # merge by the operator
    overlap: bool = False  # messages travel while a step is computed
    keeps: tuple[bool, bool] = (
        False,
        False,
    )  # keys, values: for the backward pass instead of sending them again

    @property
    def wide(self) -> int:
        """Ranks of a window."""
        return 1 if self.window is None else int(self.window.size())

    @property
    def size(self) -> int:
        return int(self.group.size()) * self.wide

    @property
    def rank(self) -> int:
        return self.source(0)

    def source(self, step: int) -> int:
        """Whose keys are here at a step."""
        windows, places = divmod(step, self.wide)
        place = 0 if self.window is None else (self.window.rank() - places) % self.wide
        return int((self.group.rank() - windows) % self.group.size() * self.wide + place)

    @property
    def layout(self) -> str:
        return "SBH" if self.packed is None else "TND"

    def parts(self, step: int, length: int) -> list[Part]:
        """`length`: of the two chunks of a rank."""
        if self.packed is not None:
            return [self._of_packed(self.source(step), self.packed)]
        if self.slopes is not None:
            return list(self._of_chunks(self.source(step), length // 2, self.slopes))
        return [self._visible(self.source(step), length)]

    def _visible(self, source: int, length: int) -> Part:
        every, half = slice(0, length), length // 2
        if self.mask is not None:
            mask = self._hidden(self.mask, source)
            return Part(every, every, {"atten_mask": mask.contiguous(), "sparse_mode": MASK})
        if not self.causal:
            return Part(every, every, {})
        if source == self.rank:
            return Part(every, every, _causal())
        if source < self.rank:
            return Part(every, slice(0, half), {})
        return Part(slice(half, length), every, {})

    def _hidden(self, mask: Tensor, source: int) -> Tensor:
        """Of the keys that come from a rank."""
        if self.stretches:
            return mask.chunk(self.size, dim=-1)[source]
        chunks = mask.chunk(2 * self.size, dim=-1)
        return torch.cat([chunks[source], chunks[-1 - source]], dim=-1)

    def _of_packed(self, source: int, halves: Halves) -> Part:
        """The same of every sequence."""
        every = slice(0, halves.ends[-1])
        of_halves = [end // 2 for end in halves.ends]
        q_ends = k_ends = halves.ends
        more: dict[str, Any] = {"softmax_layout": "TND"}  # maxima and sums lie as the queries
        rows: tuple[Rows, Rows] = (every, every)
        if self.causal and source == self.rank:
            more |= _causal()
        elif self.causal and source < self.rank:
            rows, k_ends = (every, halves.first), of_halves
        elif self.causal:
            rows, q_ends = (halves.second, every), of_halves
        return Part(*rows, {"actual_seq_qlen": q_ends, "actual_seq_kvlen": k_ends} | more)

    def _of_chunks(self, source: int, half: int, slopes: Tensor) -> Iterator[Part]:
        """Chunk by chunk: a bias by the distance wants queries and keys that are one stretch of the sequence each."""
        halves, last = (slice(0, half), slice(half, 2 * half)), 2 * self.size - 1
        for queries, own in zip(halves, (self.rank, last - self.rank), strict=True):
            for keys, other in zip(halves, (source, last - source), strict=True):
                if self.mask is None and self.causal and other > own:
                    continue
                options: dict[str, Any] = {
                    "pse": slopes, "pse_type": _MADE, "q_start_idx": [own * half], "kv_start_idx": [other * half],
                }  # fmt: skip
                if self.mask is not None:
                    mask = self.mask[..., queries, :].chunk(2 * self.size, dim=-1)[other]
                    options |= {"atten_mask": mask.contiguous(), "sparse_mode": MASK}
                elif self.causal and other == own:
                    options |= _causal()
                yield Part(queries, keys, options)

    def attend(self, part: Part, q: Tensor, k: Tensor, v: Tensor, heads: int) -> tuple[Result, Any]:
        call = torch_npu.npu_fusion_attention if self.slopes is None else torch_npu.npu_fusion_attention_v2
        out, most, total, _, *state = call(
            q[part.queries], k[part.keys], v[part.keys], heads, self.layout, scale=self.scale, keep_prob=self.keep,
            **part.options,
        )  # fmt: skip
        return Result(out.float(), most, total), tuple(state)

    def gradients(
        self, part: Part, tensors: tuple[Tensor, Tensor, Tensor, Tensor], heads: int, seen: Result, state: Any
    ) -> Sequence[Tensor]:
        """Of queries, keys and values; `tensors`: they and the gradient of the output."""
        q, k, v, gradient = tensors
        call = (
            torch_npu.npu_fusion_attention_grad
            if self.slopes is None
            else torch_npu.npu_fusion_attention_grad_v2
        )
        seed, offset, numels = state
        found: Sequence[Tensor] = call(
            q[part.queries].contiguous(), k[part.keys].contiguous(), v[part.keys].contiguous(),
            gradient[part.queries].contiguous(), heads, self.layout, softmax_max=seen.most, softmax_sum=seen.total,
            attention_in=seen.out, scale_value=self.scale, keep_prob=self.keep, seed=seed, offset=offset,
            numels=numels, **part.options,
        )  # fmt: skip
        return found[:3]


def _causal() -> dict[str, Any]:
    return {
        "atten_mask": triangle(torch.device("npu", torch.npu.current_device())),
        "sparse_mode": CAUSAL,
    }


class _Passing:
    """To the next rank of a group; what comes from the one before is there after wait()."""

    def __init__(self, group: ProcessGroup, tensors: Sequence[Tensor]) -> None:
        ranks, at = torch.distributed.get_process_group_ranks(group), group.rank()
        self._sent = [tensor.contiguous() for tensor in tensors]  # kept until they have left
        self._got = [torch.empty_like(tensor) for tensor in self._sent]
        after, before = ranks[(at + 1) % len(ranks)], ranks[at - 1]
        p2p = torch.distributed.P2POp
        self._works = torch.distributed.batch_isend_irecv(
            [p2p(torch.distributed.isend, tensor, after, group) for tensor in self._sent]
            + [p2p(torch.distributed.irecv, tensor, before, group) for tensor in self._got]
        )

    def wait(self) -> list[Tensor]:
        for work in self._works:
            work.wait()
        return self._got


class _Travel:
    """Tensors on their way around: a place further with each step, and to the next window after the last of a window."""

    def __init__(self, ring: Ring, own: list[Tensor]) -> None:
        self.ring, self.here = ring, own
        self._window_has = own  # what its ranks began with
        self._next: _Passing | None = None
        self._ahead: _Passing | None = None

    def begin(self, step: int) -> None:
        """Before a step is computed."""
        place = step % self.ring.wide
        if place == 0:
            self._window_has = self.here
        if not self.ring.overlap or not self.here:
            return
        if place == 0 and step + self.ring.wide < self.ring.size:
            self._ahead = _Passing(self.ring.group, self._window_has)
        if place + 1 < self.ring.wide:
            assert self.ring.window is not None
            self._next = _Passing(self.ring.window, self.here)

    def end(self, step: int) -> None:
        """After a step: what the next one needs is here."""
        if step + 1 == self.ring.size or not self.here:
            return
        if step % self.ring.wide + 1 < self.ring.wide:
            assert self.ring.window is not None
            self.here = (self._next or _Passing(self.ring.window, self.here)).wait()
        else:
            self.here = (self._ahead or _Passing(self.ring.group, self._window_has)).wait()
        self._next = None
        if (step + 1) % self.ring.wide == 0:
            self._ahead = None


def _home(ring: Ring, step: int, sums: list[Tensor]) -> list[Tensor]:
    """Sums on their way: they follow the keys, and after the last step are back at their rank."""
    if ring.window is not None:
        sums = _Passing(ring.window, sums).wait()
    if (step + 1) % ring.wide == 0 and ring.group.size() > 1:
        sums = _Passing(ring.group, sums).wait()
    return sums


class _RingAttention(torch.autograd.Function):
    """[s, b, h, d] -> [s, b, h * d]; packed [t, h, d] -> [t, h * d]"""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, ring: Ring) -> Tensor:
        heads, length = q.shape[-2], q.shape[0]
        query, *own = (_flat(t, ring) for t in (q, k, v))
        is_plain = ring.mask is None and ring.packed is None and ring.slopes is None
        merge = merged_by_operator if ring.fused and is_plain else merged
        result: Result | None = None
        states: list[list[Any]] = []
        travel = _Travel(ring, own)
        kept: list[list[Tensor | None]] = []
        for step in range(ring.size):
            travel.begin(step)
            kept.append([t if keeps else None for t, keeps in zip(travel.here, ring.keeps, strict=True)])
            states.append([])
            for part in ring.parts(step, length):
                found, state = ring.attend(part, query, travel.here[0], travel.here[1], heads)
                states[-1].append(state)
                result = _with(result, part, found, merge, query)
            travel.end(step)
        assert result is not None
        out = result.out.to(q.dtype)
        ctx.save_for_backward(q, k, v, out, result.most, result.total)
        ctx.ring, ctx.states, ctx.kept = ring, states, kept
        return out.flatten(-2) if ring.packed is not None else out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, out, most, total = ctx.saved_tensors
        ring, length, heads = ctx.ring, q.shape[0], q.shape[-2]
        query, *both = (_flat(t, ring) for t in (q, k, v))
        result, gradient = Result(out, most, total), gradient.contiguous().view(out.shape)
        own = torch.zeros_like(query, dtype=torch.float32)
        theirs = [torch.zeros_like(t, dtype=torch.float32) for t in both]
        travel = _Travel(ring, [t for t, keeps in zip(both, ring.keeps, strict=True) if not keeps])
        for step in range(ring.size):
            travel.begin(step)
            come = iter(travel.here)
            key, value = (t if t is not None else next(come) for t in ctx.kept[step])
            for part, state in zip(ring.parts(step, length), ctx.states[step], strict=True):
                tensors = (query, key, value, gradient)
                dq, dk, dv = ring.gradients(part, tensors, heads, result.rows(part.queries), state)
                own[part.queries] += dq
                theirs[0][part.keys] += dk
                theirs[1][part.keys] += dv
            if ring.size > 1:
                theirs = _home(ring, step, theirs)
            travel.end(step)
        dk, dv = theirs
        return own.view_as(q).to(q.dtype), dk.view_as(k).to(k.dtype), dv.view_as(v).to(v.dtype), None


def _flat(t: Tensor, ring: Ring) -> Tensor:
    return (t.flatten(2) if ring.packed is None else t).contiguous()


def _with(result: Result | None, part: Part, found: Result, merge: Any, query: Tensor) -> Result:
    if result is None and found.out.shape[0] == query.shape[0]:
        return found
    if result is None:  # a chunk of the first step: the other one has not seen anything yet
        result = _nothing(found, query.shape[0])
        result.write(part.queries, found)
        return result
    result.write(part.queries, merge(result.rows(part.queries), found))
    return result


def _nothing(like: Result, rows: int) -> Result:
    """Rows that see no key, as the operator gives them."""
    limits = torch.finfo(torch.float32)
    shape = (*like.most.shape[:2], rows, like.most.shape[3])
    return Result(
        like.out.new_zeros(rows, *like.out.shape[1:]),
        like.most.new_full(shape, limits.min),
        like.total.new_full(shape, limits.max),
    )


def ring_attention(
    q: Tensor, k: Tensor, v: Tensor, ring: Ring, random: contextlib.AbstractContextManager[Any]
) -> Tensor:
    """`random`: the state in which dropout draws."""
    with random:
        result: Tensor = _RingAttention.apply(q, k, v, ring)
    return result
