# SPDX-License-Identifier: Apache-2.0
"""`torchrun ... ring_job.py`: a ring's attention and gradients against the whole in float64, under masks of several kinds.

Rank 0 prints a line of JSON for each: the largest difference on any rank.
"""

from __future__ import annotations

import contextlib
import json
import os

import mindspeed.megatron_adaptor  # noqa: F401
import torch
from mindspeed.features.compatibility.context_parallel import chunks_of
from mindspeed.features.sequence._ring import Ring, ring_attention
from torch import Tensor

LENGTH, BATCH, HEADS, GROUPS, WIDTH = 48, 2, 4, 2, 16
KINDS = ("none", "causal", "random", "hidden")


def mask_of(kind: str, generator: torch.Generator) -> Tensor:
    """True where a key is hidden. hidden: the first queries see nothing."""
    if kind == "causal":
        return torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1).expand(BATCH, 1, -1, -1)
    hidden = torch.rand(BATCH, 1, LENGTH, LENGTH, generator=generator) < (0.0 if kind == "none" else 0.6)
    if kind == "hidden":
        hidden[:, :, :5] = True
    return hidden


def reference(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    q, k, v = (t.permute(1, 2, 0, 3) for t in (q, k, v))
    k, v = (t.repeat_interleave(HEADS // GROUPS, dim=1) for t in (k, v))
    scores = (q @ k.mT * WIDTH**-0.5).masked_fill(mask, -torch.inf)
    return (scores.softmax(-1).nan_to_num(0.0) @ v).permute(2, 0, 1, 3).flatten(2)


def difference(kind: str, group: torch.distributed.ProcessGroup, fused: bool) -> float:
    generator = torch.Generator().manual_seed(len(kind))
    shapes = [(LENGTH, BATCH, heads, WIDTH) for heads in (HEADS, GROUPS, GROUPS)]
    whole = [
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes
    ]
    gradient = torch.randn(LENGTH, BATCH, HEADS * WIDTH, generator=generator, dtype=torch.float64)
    mask = mask_of(kind, generator)
    wanted = reference(*whole, mask)
    wanted.backward(gradient)

    def part(t: Tensor, dim: int = 0) -> Tensor:
        chunks = t.detach().chunk(2 * group.size(), dim)
        return torch.cat([chunks[chunk] for chunk in chunks_of(group.rank(), group.size())], dim)

    own = [part(t).float().npu().requires_grad_() for t in whole]
    ring = Ring(
        group=group, scale=WIDTH**-0.5, fused=fused, overlap=fused, causal=kind == "causal" and fused,
        mask=None if fused else part(mask, -2).npu(),
    )  # fmt: skip
    found = ring_attention(*own, ring, contextlib.nullcontext())
    found.backward(part(gradient).float().npu())
    pairs = [(found, wanted), *((mine.grad, all_of.grad) for mine, all_of in zip(own, whole, strict=True))]
    worst = torch.stack(
        [(mine.detach().cpu().double() - part(all_of)).abs().max() for mine, all_of in pairs]
    ).max()
    worst = worst.nan_to_num(1e9).float().npu()
    torch.distributed.all_reduce(worst, torch.distributed.ReduceOp.MAX)
    return worst.item()


def main() -> None:
    torch.npu.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("hccl")
    group = torch.distributed.group.WORLD
    for kind, fused in [*((kind, False) for kind in KINDS), ("none", True), ("causal", True)]:
        worst = difference(kind, group, fused)
        if group.rank() == 0:
            print(json.dumps({"kind": kind, "fused": fused, "difference": worst}), flush=True)
    torch.npu.synchronize()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
