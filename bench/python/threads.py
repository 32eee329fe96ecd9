# SPDX-License-Identifier: Apache-2.0
"""What each thread of a process burns: while it computes, while it waits, and with several ranks.

Usage: threads.py [--seconds S] [--ranks N] [--queue 0|1|2]

Processor time of every thread (/proc/self/task), as a share of one core, in three states: small operators one after
the other, one large product after the other, nothing to do. With --ranks N the last state is repeated by rank 0 of N
while it waits for an all-reduce that the others are late for. A thread that is not to compute should show 0.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def thread_times() -> dict[tuple[str, str], float]:
    """Seconds of processor time by thread number and name."""
    times = {}
    for task in Path("/proc/self/task").iterdir():
        name, _, rest = (task / "stat").read_text().partition("(")[2].rpartition(")")
        fields = rest.split()
        times[(task.name, name)] = (int(fields[11]) + int(fields[12])) / TICK
    return times


def watch(title: str, seconds: float, work: Callable[[], None]) -> None:
    """Do `work` again and again for some seconds, once at least; print which threads took how much of a core."""
    before, began = thread_times(), time.perf_counter()
    elapsed = 0.0
    while elapsed <= seconds:
        work()
        elapsed = time.perf_counter() - began
    shares: dict[str, float] = defaultdict(float)
    for (number, name), spent in thread_times().items():
        main = name if number != str(os.getpid()) else "main"
        shares[main] += (spent - before.get((number, name), 0)) / elapsed
    busy = sorted(((share, name) for name, share in shares.items() if share >= 0.005), reverse=True)
    text = "  ".join(f"{name} {share:.2f}" for share, name in busy) or "nothing"
    print(f"{title:44}{sum(shares.values()):6.2f}  {text}", flush=True)


def one_process(seconds: float) -> None:
    import torch

    small, large = torch.ones(16, device="npu"), torch.ones(1024, 1024, device="npu")
    torch.mm(large, large)
    torch.npu.synchronize()

    def products() -> None:
        torch.mm(large, large)
        torch.npu.synchronize()

    watch("small operators", seconds, lambda: [small.add_(1) for _ in range(1000)] and None)
    torch.npu.synchronize()
    watch("products of 1024", seconds, products)
    watch("nothing", seconds, lambda: time.sleep(seconds))


def one_rank(seconds: float) -> None:
    """Rank 0 measures; the others come `seconds` late to each collective."""
    import torch
    import torch.distributed as dist

    dist.init_process_group("hccl")
    rank = dist.get_rank()
    torch.npu.set_device(rank)
    x = torch.ones(1 << 20, device="npu")
    dist.all_reduce(x)
    torch.npu.synchronize()

    def late_all_reduce() -> None:
        if rank != 0:
            time.sleep(seconds)
        dist.all_reduce(x)
        torch.npu.synchronize()

    if rank == 0:
        watch(f"waiting for {dist.get_world_size() - 1} ranks", 0, late_all_reduce)
    else:
        late_all_reduce()
    dist.barrier()
    dist.destroy_process_group()


def start_ranks(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={options.ranks}"]
        command += ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", f"--log-dir={folder}", __file__]
        command += ["--seconds", str(options.seconds), "--is-rank"]
        subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="of each state (default: %(default)s)")
    parser.add_argument("--ranks", type=int, default=0, help="also a wait of this many ranks")
    parser.add_argument("--queue", choices="012", help="TASK_QUEUE_ENABLE; default: the hook's")
    parser.add_argument("--is-rank", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.queue:
        os.environ["TASK_QUEUE_ENABLE"] = options.queue
    if options.is_rank:
        one_rank(options.seconds)
        return
    print(f"{'cores burnt while':44}{'all':>6}  by thread")
    one_process(options.seconds)
    if options.ranks:
        start_ranks(options)


if __name__ == "__main__":
    main()
