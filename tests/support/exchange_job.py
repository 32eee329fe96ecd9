# SPDX-License-Identifier: Apache-2.0
"""`torchrun ... exchange_job.py`: attention over gathered keys and values, kept by autograd or brought again for the backward pass.

Rank 0 prints a line of JSON for each of nothing, keys, both brought again: bytes held between the passes, and a digest of the
gradients.
"""

from __future__ import annotations

import contextlib
import json
import os

import mindspeed.megatron_adaptor  # noqa: F401
import torch
import torch_npu
from mindspeed.features.sequence._exchange import brought_again, gathered, to_sequence

TOKENS, HEADS, WIDTH = 64, 4, 16


def train(again: int) -> tuple[int, float]:
    group = torch.distributed.group.WORLD
    generator = torch.Generator().manual_seed(group.rank())
    q, k, v = (
        torch.randn(TOKENS, 1, heads, WIDTH, generator=generator).npu().requires_grad_()
        for heads in (HEADS, 1, 1)
    )
    torch.npu.synchronize()
    torch.empty(1, device="npu")  # the allocator looks then what streams have let go of
    before = torch.npu.memory_stats()["requested_bytes.all.current"]
    queries, wholes = to_sequence(q, group), [gathered(x, group) for x in (k, v)]
    hooks = contextlib.nullcontext()
    if again:
        hooks = brought_again([k, v][:again], wholes[:again], lambda part: gathered(part, group))
    with hooks:
        flat = [x.flatten(2) for x in (queries, *wholes)]
        out = torch_npu.npu_fusion_attention(*flat, HEADS // group.size(), "SBH", scale=WIDTH**-0.5)[0]
    del queries, wholes, flat
    torch.npu.synchronize()
    torch.empty(1, device="npu")
    held = torch.npu.memory_stats()["requested_bytes.all.current"] - before
    out.square().sum().backward()
    return held, sum(float(x.grad.cpu().double().abs().sum()) for x in (q, k, v))


def main() -> None:
    torch.npu.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("hccl")
    train(0)  # what stays
    for again in range(3):
        held, gradients = train(again)
        if torch.distributed.get_rank() == 0:
            print(json.dumps({"again": again, "held": held, "gradients": gradients}), flush=True)
    torch.npu.synchronize()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
