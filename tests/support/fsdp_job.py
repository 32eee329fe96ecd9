# SPDX-License-Identifier: Apache-2.0
"""The training job of the FSDP2 tests: `torchrun ... fsdp_job.py WAY...`, PlainGPT with AdamW on virtual NPUs.

A way is none (one rank, not sharded), shard, keep (parameters stay whole between forward and backward), hybrid (two
dimensions: shards in pairs of ranks, replicas across) or bf16 (parameters gathered in bfloat16, gradients reduced in
float32). Prints, from rank 0, a line of JSON for each: losses over the whole batch and norms of the gradient.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import torch
from parity_job import SHAPE, initial_weights
from plain_gpt import PlainGPT, decay_groups
from torch.distributed import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

BATCH, STEPS = 8, 10


def mesh_of(way: str, world: int) -> DeviceMesh:
    if way == "hybrid":
        return init_device_mesh("npu", (world // 2, 2), mesh_dim_names=("replicate", "shard"))
    return init_device_mesh("npu", (world,))


def shard(model: PlainGPT, way: str, world: int) -> None:
    options: dict[str, Any] = {"mesh": mesh_of(way, world), "reshard_after_forward": way != "keep"}
    if way == "bf16":
        options["mp_policy"] = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    for block in model.blocks:
        fully_shard(block, **options)
    fully_shard(model, **options)


def rows(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """This rank's part of the batch of a step."""
    generator = torch.Generator().manual_seed(step)
    start = torch.randint(0, SHAPE.vocab, (BATCH, 1), generator=generator)
    stride = torch.randint(1, 4, (BATCH, 1), generator=generator)
    text = (start + stride * torch.arange(SHAPE.sequence + 1)) % SHAPE.vocab
    mine = text[torch.distributed.get_rank() :: torch.distributed.get_world_size()].to("npu")
    return mine[:, :-1].contiguous(), mine[:, 1:].contiguous()


def train(way: str) -> dict[str, Any]:
    world = torch.distributed.get_world_size()
    model = PlainGPT(SHAPE)
    model.load_state_dict(initial_weights())
    model.to("npu")
    if way != "none":
        shard(model, way, world)
    optimizer = torch.optim.AdamW(decay_groups(model, 0.1), lr=1e-3, betas=(0.9, 0.95))
    losses, norms = [], []
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = model.loss(*rows(step))
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        mean = loss.detach() / world
        torch.distributed.all_reduce(mean)
        losses.append(mean.item())
        norms.append((norm.full_tensor() if way != "none" else norm).item())
    return {"losses": losses, "norms": norms}


def main() -> None:
    torch.npu.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("hccl")
    for way in sys.argv[1:]:
        result = train(way)
        if torch.distributed.get_rank() == 0:
            print(json.dumps(result), flush=True)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
