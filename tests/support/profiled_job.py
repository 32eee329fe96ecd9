# SPDX-License-Identifier: Apache-2.0
"""A rank that trains some steps under torch_npu.profiler, which writes to the folder given as the only argument."""

from __future__ import annotations

import os
import sys

import torch
import torch.distributed as dist
import torch_npu

PROFILER = torch_npu.profiler


def main() -> None:
    torch.npu.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("hccl")
    layer = torch.nn.Linear(64, 128).npu()
    optimizer = torch.optim.AdamW(layer.parameters())
    x = torch.randn(32, 64, device="npu")
    with PROFILER.profile(
        activities=[PROFILER.ProfilerActivity.CPU, PROFILER.ProfilerActivity.NPU],
        schedule=PROFILER.schedule(wait=1, warmup=1, active=2, repeat=1),
        on_trace_ready=PROFILER.tensorboard_trace_handler(sys.argv[1]),
        record_shapes=True,
        experimental_config=PROFILER._ExperimentalConfig(profiler_level=PROFILER.ProfilerLevel.Level1),
    ) as profile:
        for _ in range(5):
            layer(x).square().mean().backward()
            dist.all_reduce(layer.weight.grad)
            optimizer.step()
            optimizer.zero_grad()
            torch.npu.synchronize()
            profile.step()
    dist.destroy_process_group()


main()
