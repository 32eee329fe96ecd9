# SPDX-License-Identifier: Apache-2.0
"""`torchrun ... ring_job.py CASE...`: a ring's attention and gradients against the whole in float64.

A case is JSON: `kind` of the mask, and what the ring is told: `fused` (no mask, merged by the operator), `window` (ranks of one),
`keeps`, `slopes` (scores fall off with the distance), `lengths` of packed sequences; or `adaptive`: no ring, but blocks in their own places. Rank 0 prints a line of JSON for each: the largest
difference on any rank, the tensors that rank 0 sends in the forward and the backward pass, and the bytes that it holds between them.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from types import SimpleNamespace
from typing import Any

import mindspeed.megatron_adaptor  # noqa: F401
import torch
from mindspeed.features.compatibility.context_parallel import chunks_of
from mindspeed.features.fusion.flash_attention import triangle
from mindspeed.features.sequence._adaptive import Adaptive, adaptive_attention, seen_by_all
from mindspeed.features.sequence._packed import halves
from mindspeed.features.sequence._ring import Ring, ring_attention
from torch import Tensor
from torch.distributed import ProcessGroup

LENGTH, BATCH, HEADS, GROUPS, WIDTH = 48, 2, 4, 2, 16
SLOPES = torch.tensor([0.5, 0.25, 0.125, 0.0625])
Case = dict[str, Any]


def mask_of(case: Case, length: int, generator: torch.Generator) -> Tensor:
    """True where a key is hidden. hidden: the first queries see nothing."""
    kind, batch = case["kind"], 1 if "lengths" in case else BATCH
    later = torch.ones(length, length, dtype=torch.bool).triu(1)
    if "lengths" in case:
        sequence = torch.arange(len(case["lengths"])).repeat_interleave(torch.tensor(case["lengths"]))
        others = sequence.unsqueeze(0) != sequence.unsqueeze(1)
        return (others | later if kind == "causal" else others).expand(1, 1, -1, -1)
    if kind == "causal":
        return later.expand(batch, 1, -1, -1)
    hidden = torch.rand(batch, 1, length, length, generator=generator) < (0.0 if kind == "none" else 0.6)
    if kind == "documents":  # of a third and of two thirds of the sequence
        first = torch.arange(length) < length // 3
        return ((first.unsqueeze(0) != first.unsqueeze(1)) | later).expand(batch, 1, -1, -1)
    if kind == "hidden":
        hidden[:, :, :5] = True
    return hidden


def reference(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, with_slopes: bool) -> Tensor:
    q, k, v = (t.permute(1, 2, 0, 3) for t in (q, k, v))
    k, v = (t.repeat_interleave(HEADS // GROUPS, dim=1) for t in (k, v))
    scores = q @ k.mT * WIDTH**-0.5
    if with_slopes:
        position = torch.arange(len(mask[0, 0]), dtype=torch.float64)
        scores = scores - SLOPES.double().view(-1, 1, 1) * (position - position.unsqueeze(1)).abs()
    scores = scores.masked_fill(mask, -torch.inf)
    return (scores.softmax(-1).nan_to_num(0.0) @ v).permute(2, 0, 1, 3).flatten(2)


def part(t: Tensor, rank: int, size: int, lengths: list[int], dim: int = 0) -> Tensor:
    """Of each sequence two chunks."""
    pieces = []
    for whole in t.detach().split(lengths, dim):
        chunks = whole.chunk(2 * size, dim)
        pieces += [chunks[chunk] for chunk in chunks_of(rank, size)]
    return torch.cat(pieces, dim)


def ring_of(case: Case, size: int, rank: int, mask: Tensor, windows: tuple[Any, Any]) -> Ring:
    is_masked = not case.get("fused") and "lengths" not in case and case["kind"] != "causal, no mask"
    packed = None
    if "lengths" in case:
        all_ends = torch.tensor([0, *case["lengths"]]).cumsum(0)
        told = SimpleNamespace(cu_seqlens_q=all_ends, cu_seqlens_kv=all_ends)
        packed = halves(told, size, torch.device("npu"))
    return Ring(
        group=windows[0], window=windows[1], scale=WIDTH**-0.5, fused=case.get("fused", False),
        overlap=case.get("fused", False), causal=case["kind"] == "causal" and not is_masked, packed=packed,
        keeps=tuple(case.get("keeps", (False, False))), slopes=SLOPES.npu() if case.get("slopes") else None,
        mask=part(mask, rank, size, [mask.shape[-2]], -2).npu() if is_masked else None,
    )  # fmt: skip


class Sent:
    """Tensors that this rank has sent since it was last asked."""

    def __init__(self) -> None:
        self.number, self._send = 0, torch.distributed.batch_isend_irecv
        torch.distributed.batch_isend_irecv = self._counted

    def _counted(self, ops: list[Any]) -> Any:
        self.number += sum(op.op is torch.distributed.isend for op in ops)
        return self._send(ops)

    def __call__(self) -> int:
        number, self.number = self.number, 0
        return number


def in_use() -> int:
    torch.npu.synchronize()
    torch.empty(1, device="npu")  # the allocator looks then what streams have let go of
    return int(torch.npu.memory_stats()["requested_bytes.all.current"])


def difference(case: Case, group: ProcessGroup, windows: tuple[Any, Any], sent: Sent) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(len(case["kind"]))
    size, rank, packed = group.size(), group.rank(), "lengths" in case
    length = sum(case["lengths"]) if packed else LENGTH
    lengths, batch = case.get("lengths", [length]), 1 if packed else BATCH
    shapes = [(length, batch, heads, WIDTH) for heads in (HEADS, GROUPS, GROUPS)]
    whole = [
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes
    ]
    gradient = torch.randn(length, batch, HEADS * WIDTH, generator=generator, dtype=torch.float64)
    mask = mask_of(case, length, generator)
    wanted = reference(*whole, mask, bool(case.get("slopes")))
    wanted.backward(gradient)

    def mine_of(t: Tensor) -> Tensor:
        mine = part(t, rank, size, lengths)
        return mine.squeeze(1) if packed else mine

    own = [mine_of(t).float().npu().requires_grad_() for t in whole]
    rounds: list[int] = []
    before = in_use()
    if case.get("adaptive"):
        seen = seen_by_all(part(mask, rank, size, lengths, -2).npu(), group)
        rounds = [len(blocks) for blocks in seen.rounds]
        way = Adaptive(group=group, seen=seen, scale=WIDTH**-0.5, overlap=case["adaptive"] == "overlap")
        found = adaptive_attention(*own, way, contextlib.nullcontext())
    else:
        found = ring_attention(*own, ring_of(case, size, rank, mask, windows), contextlib.nullcontext())
    held, forward = in_use() - before, sent()
    found.backward(mine_of(gradient).float().npu())
    backward = sent()
    pairs = [(found, wanted), *((mine.grad, all_of.grad) for mine, all_of in zip(own, whole, strict=True))]
    worst = torch.stack(
        [(mine.detach().cpu().double() - mine_of(all_of)).abs().max() for mine, all_of in pairs]
    ).max()
    worst = worst.nan_to_num(1e9).float().npu()
    torch.distributed.all_reduce(worst, torch.distributed.ReduceOp.MAX)
    return {"difference": worst.item(), "held": held, "sent": (forward, backward), "rounds": rounds}


def windows_of(group: ProcessGroup, wide: int) -> tuple[Any, Any]:
    """(the ring of windows, the window) of this rank."""
    if wide == 1:
        return group, None
    ranks, at = list(range(group.size())), group.rank()
    first = at - at % wide
    return tuple(
        torch.distributed.new_group(chosen, use_local_synchronization=True)
        for chosen in (ranks[at % wide :: wide], ranks[first : first + wide])
    )  # type: ignore[return-value]


def main() -> None:
    torch.npu.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("hccl")
    group = torch.distributed.group.WORLD
    windows: dict[int, tuple[Any, Any]] = {}
    sent = Sent()
    triangle(torch.device("npu", torch.npu.current_device()))  # made once in a process
    for case in map(json.loads, sys.argv[1:]):
        wide = case.get("window", 1)
        if wide not in windows:
            windows[wide] = windows_of(group, wide)
        found = difference(case, group, windows[wide], sent)
        if group.rank() == 0:
            print(json.dumps(case | found), flush=True)
    torch.npu.synchronize()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
