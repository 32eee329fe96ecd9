# SPDX-License-Identifier: Apache-2.0
"""The same loop as bench_collectives with torch.distributed and gloo, under torchrun: COLLECTIVE SECONDS BYTES..."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

os.environ["TORCH_DEVICE_BACKEND_AUTOLOAD"] = "0"
import torch
import torch.distributed as dist

WARM, MAX_CALLS = 3, 20000


def make(what: str, size: int, ranks: int) -> Callable[[], object]:
    whole, part = torch.zeros(size // 4), torch.zeros(max(1, size // 4 // ranks))
    whole = whole[: part.numel() * ranks] if what != "all_reduce" else whole
    if what == "all_reduce":
        return lambda: dist.all_reduce(whole)
    if what == "all_gather":
        return lambda: dist.all_gather_into_tensor(whole, part)
    if what == "reduce_scatter":
        return lambda: dist.reduce_scatter_tensor(part, whole)
    if what == "broadcast":
        return lambda: dist.broadcast(whole, 0)
    other = torch.empty_like(whole)
    return lambda: dist.all_to_all_single(other, whole)


def seconds_per_call(call: Callable[[], object], calls: int) -> float:
    dist.barrier()
    begin = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - begin) / calls


def main() -> None:
    what, seconds = sys.argv[1], float(sys.argv[2])
    dist.init_process_group("gloo")
    for size in map(int, sys.argv[3:]):
        call = make(what, size, dist.get_world_size())
        calls = torch.tensor([seconds / seconds_per_call(call, WARM)]).clamp(3, MAX_CALLS).int()
        dist.broadcast(calls, 0)
        each = seconds_per_call(call, int(calls))
        if dist.get_rank() == 0:
            print(size, f"{each:.9f}", f"{each:.9f}", flush=True)
    dist.destroy_process_group()


main()
