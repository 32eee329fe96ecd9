# SPDX-License-Identifier: Apache-2.0
"""Products fused with collectives next to the two calls one after the other, over links of a chosen speed.

Usage: overlap.py [--ranks N] [--link GB/s,us] [--rows N] [--hidden N] [--wide N] [--dtype fp32|bf16]

A layer of tensor parallelism with sequence parallelism, of the forward pass: each rank has --rows tokens of --hidden numbers
and an N-th of a product with --wide columns. Ranks are processes of this machine, each on one thread.

- product: the matmul alone; collective: the collective alone.
- apart: one after the other; fused: aclnnAllGatherMatmul, aclnnMatmulReduceScatter, aclnnMatmulAllReduce.
- exposed: what a call takes beyond its product alone; the last column is by how much less of that fused has.

Times are medians, in ms, of the slowest rank.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from processes import on_ranks

DTYPES = {"fp32": "float32", "bf16": "bfloat16"}
REPEATS = 9


def rank_main(arguments: argparse.Namespace) -> None:
    import torch
    import torch.distributed as dist
    import torch_npu

    world, rank = int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"])
    torch.npu.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("hccl")
    name = dist.group.WORLD._get_backend(torch.device("npu")).get_hccl_comm_name(rank)
    options = {"dtype": getattr(torch, DTYPES[arguments.dtype]), "device": "npu"}
    rows, hidden, wide = arguments.rows, arguments.hidden, arguments.wide // world
    own, whole = torch.randn(rows, hidden, **options), torch.randn(world * rows, hidden, **options)
    up, activation, down = (
        torch.randn(hidden, wide, **options),
        torch.randn(world * rows, wide, **options),
        torch.randn(wide, hidden, **options),
    )
    part, product = torch.empty(rows, hidden, **options), torch.empty(world * rows, hidden, **options)

    def milliseconds(work: Callable[[], object]) -> float:
        times = []
        for _ in range(REPEATS + 2):
            dist.barrier()
            torch.npu.synchronize()
            begin = time.perf_counter()
            work()
            torch.npu.synchronize()
            times.append((time.perf_counter() - begin) * 1e3)
        slowest = torch.tensor(statistics.median(times[2:]), device="npu")
        dist.all_reduce(slowest, op=dist.ReduceOp.MAX)
        return slowest.item()

    def gather() -> None:
        dist.all_gather_into_tensor(whole, own)

    def scatter() -> None:
        dist.reduce_scatter_tensor(part, product)

    def add() -> None:
        dist.all_reduce(product)

    cases = {
        "all-gather, product": (
            lambda: whole @ up, gather, lambda: (gather(), whole @ up),
            lambda: torch_npu.npu_all_gather_base_mm(own, up, name, world),
        ),
        "product, reduce-scatter": (
            lambda: activation @ down, scatter,
            lambda: (torch.matmul(activation, down, out=product), scatter()),
            lambda: torch_npu.npu_mm_reduce_scatter_base(activation, down, name, world),
        ),
        "product, all-reduce": (
            lambda: activation @ down, add, lambda: (torch.matmul(activation, down, out=product), add()),
            lambda: torch_npu.npu_mm_all_reduce_base(activation, down, name),
        ),
    }  # fmt: skip
    for case, calls in cases.items():
        row = [milliseconds(call) for call in calls]
        if rank == 0:
            print(json.dumps([case, *row]), flush=True)
    dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--link", default="2,20", help="MINDSPEED_HCCL_LINK; default %(default)s")
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--wide", type=int, default=4096)
    parser.add_argument("--dtype", choices=DTYPES, default="fp32")
    arguments = parser.parse_args()
    if "RANK" in os.environ:
        rank_main(arguments)
        return
    printed = on_ranks(arguments.ranks, sys.argv, MINDSPEED_HCCL_LINK=arguments.link)
    print(f"{arguments.ranks} ranks, links of {arguments.link} (GB/s, us), {arguments.dtype}")
    print(
        f"{'':<25}{'product':>9}{'collective':>12}{'apart':>9}{'fused':>9}{'exposed apart':>15}{'fused':>9}{'less':>7}"
    )
    for case, product, collective, apart, fused in map(json.loads, printed.splitlines()):
        exposed = [max(t - product, 0) for t in (apart, fused)]
        times = f"{product:9.1f}{collective:12.1f}{apart:9.1f}{fused:9.1f}{exposed[0]:15.1f}{exposed[1]:9.1f}"
        print(f"{case:<25}{times}{1 - exposed[1] / max(exposed[0], 1e-9):7.0%}")


if __name__ == "__main__":
    main()
