# SPDX-License-Identifier: Apache-2.0
"""Communication that nothing covers, in a tensor-parallel layer over links of a chosen speed, by the trace of each rank.

Usage: exposed_communication.py [--ranks N] [--link GB/s,us] [--hidden N] [--rows N]

The layer is Megatron's: a column-parallel and a row-parallel product with four times the hidden size between them, forward and
backward, with sequence parallelism; ranks are processes of this machine with a thread each. Rows:

- none: Megatron's own layers; coc: --use-ascend-coc --coc-parallel-num 4; mc2: --use-ascend-mc2.
- communication: time of collectives (HCCL tasks) of a step; exposed: of that, while the rank computes nothing.

Milliseconds of a step, means over ranks. Where cores are fewer than ranks, ranks wait for each other's cores, and part of
that waiting is in the collectives.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from mindspeed.profiling.times import Stretch, union, without
from processes import on_ranks

FLAGS: dict[str, dict[str, Any]] = {
    "none": {},
    "coc": {"use_ascend_coc": True, "coc_parallel_num": 4},
    "mc2": {"use_ascend_mc2": True},
}
STEPS, WARMUP = 6, 2
BETWEEN_STAGES = ("HcclSend", "HcclRecv")  # which take as long as the other rank computes


def rank_main(options: argparse.Namespace) -> None:
    import torch
    from mindspeed import megatron_adaptor

    world = int(os.environ["WORLD_SIZE"])
    parallel = {"tensor_model_parallel_size": world, "sequence_parallel": True, "optimization_level": 2}
    megatron_adaptor.repatch(parallel | FLAGS[options.row])
    from megatron.core import parallel_state, tensor_parallel
    from megatron.core.transformer import TransformerConfig

    torch.npu.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("hccl")
    parallel_state.initialize_model_parallel(
        tensor_model_parallel_size=world, create_gloo_process_groups=False
    )
    tensor_parallel.model_parallel_cuda_manual_seed(1)
    config = TransformerConfig(
        num_layers=1, hidden_size=options.hidden, num_attention_heads=8, tensor_model_parallel_size=world,
        sequence_parallel=True, gradient_accumulation_fusion=False,
    )  # fmt: skip
    common = {
        "config": config,
        "init_method": torch.nn.init.xavier_normal_,
        "bias": False,
        "is_expert": False,
    }
    wide = 4 * options.hidden
    up = tensor_parallel.ColumnParallelLinear(options.hidden, wide, gather_output=False, **common)
    down = tensor_parallel.RowParallelLinear(
        wide, options.hidden, input_is_parallel=True, skip_bias_add=True, **common
    )
    x = torch.randn(options.rows, 1, options.hidden, device="npu", requires_grad=True)
    for _ in range(WARMUP + STEPS):
        torch.distributed.barrier()
        torch.npu.synchronize()
        down(torch.nn.functional.gelu(up(x)[0]))[0].square().mean().backward()
        torch.npu.synchronize()
    torch.distributed.destroy_process_group()


def steps_of(trace: Path) -> list[tuple[float, float, float]]:
    """Of each step but those to warm up, between two barriers: ms in all, of communication, of what is exposed."""
    records = [record for record in json.loads(trace.read_text(encoding="utf-8")) if record["ph"] == "X"]

    def of(kind: str) -> list[Stretch]:
        return [
            (round(r["ts"] * 1e3), round((r["ts"] + r["dur"]) * 1e3))
            for r in records
            if r["cat"] == kind and r["name"] not in BETWEEN_STAGES
        ]

    # A barrier of torch.distributed sums one number.
    barriers = sorted(
        round((r["ts"] + r["dur"]) * 1e3)
        for r in records
        if r["name"] == "HcclAllReduce" and r["args"]["shapes"].startswith("float32[1] ")
    )
    computing, talking = union(of("operator")), union(of("collective"))
    found = []
    for begin, end in zip(barriers[WARMUP:], [*barriers[WARMUP + 1 :], 1 << 62], strict=True):
        within = [(max(a, begin), min(b, end)) for a, b in talking if b > begin and a < end]
        last = max([b for _, b in computing if begin < b <= end] + [b for _, b in within], default=begin)
        within = [(a, min(b, last)) for a, b in within]
        exposed = without(union(within), computing)
        found.append(
            tuple(
                ns / 1e6
                for ns in (last - begin, sum(b - a for a, b in within), sum(b - a for a, b in exposed))
            )
        )
    return found


def measure(options: argparse.Namespace, row: str) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        variables = {
            "MINDSPEED_HCCL_LINK": options.link,
            "MINDSPEED_TRACE": f"{folder}/%r.json",
            "CUDA_DEVICE_MAX_CONNECTIONS": "1",
        }
        on_ranks(options.ranks, [*sys.argv, "--row", row], **variables)
        ranks = [steps_of(Path(folder) / f"{rank}.json") for rank in range(options.ranks)]
    return [
        statistics.mean(statistics.median(step[i] for step in steps) for steps in ranks) for i in range(3)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--link", default="0.5,50", help="MINDSPEED_HCCL_LINK; default %(default)s")
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--rows", type=int, default=512, help="of each rank")
    parser.add_argument("--row", choices=FLAGS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        rank_main(options)
        return
    print(f"{options.ranks} ranks, links of {options.link} (GB/s, us)")
    print(f"{'':<6}{'step':>8}{'communication':>15}{'exposed':>9}{'less':>7}")
    plain = 0.0
    for row in FLAGS:
        step, talking, exposed = measure(options, row)
        plain = plain or exposed
        print(f"{row:<6}{step:8.1f}{talking:15.1f}{exposed:9.1f}{1 - exposed / plain:7.0%}")


if __name__ == "__main__":
    main()
