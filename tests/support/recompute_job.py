# SPDX-License-Identifier: Apache-2.0
"""The training job of test_adaptive_recompute.py: `torchrun ... recompute_job.py CASE...`, all of one world size.

A case is JSON: `layout` as in parallel_layouts.py, `sizes` of the model, `flags` as repatch() takes them, and `fractions`.
It is trained without the feature, with the least limit there is, and once for each fraction with a limit that lies that far
between the peaks of the two. Rank 0 prints a line for each: `limit` and each rank's `peaks` of the passes of the last
steps, in bytes, `losses` and `norms`, and `options`, how many layers were given each.
"""

from __future__ import annotations

import collections
import json
import os
import sys
import warnings
from typing import Any

import device_memory
import memory_job
import mindspeed.megatron_adaptor as adaptor
import parallel_job
import torch
from parallel_layouts import Layout

MIB = 1 << 20
PROFILED, LAST = 4, 5  # steps: measured, and with the plan
NUMBERS = iter(range(1, 1000))


def train(case: dict[str, Any], limit: int | None) -> dict[str, Any]:
    """`limit`: MiB above what is there before; None: without the feature."""
    layout = Layout(**case["layout"])
    parallel_job.initialize(layout, next(NUMBERS))
    before = device_memory.in_use()
    given = {"adaptive_recompute_device_size": None}
    if limit is not None:
        most = -(-before // MIB) + limit
        given = {
            "adaptive_recompute_device_size": most,
            "adaptive_recompute_profiling_step": PROFILED,
        }
    adaptor.repatch(memory_job.OFF | case["flags"] | given)
    config = parallel_job.transformer_config(layout, **case.get("config", {}))
    chunks = parallel_job.build_model(layout, config)
    optimizer = parallel_job.build_optimizer(layout, chunks)
    parallel_job.connect(layout, config, chunks, optimizer)
    steps, peaks, update = [], [], optimizer.step

    def step() -> Any:
        torch.npu.synchronize()
        peaks.append(torch.npu.max_memory_allocated())
        return update()

    optimizer.step = step
    for number in range(PROFILED + LAST):
        if number >= PROFILED + LAST - 2:
            torch.npu.reset_peak_memory_stats()
        steps.append(parallel_job.train_step(layout, chunks, optimizer, number))
    largest = torch.tensor([max(peaks[-2:])], dtype=torch.int64, device="npu")
    ranks = [torch.zeros_like(largest) for _ in range(layout.world)]
    torch.distributed.all_gather(ranks, largest)
    found = {
        "limit": given["adaptive_recompute_device_size"],
        "before": before,
        "peaks": [int(rank) for rank in ranks],
        "losses": [loss for loss, _ in steps],
        "norms": [norm for _, norm in steps],
        "options": options(chunks),
    }
    parallel_job.finalize()
    return found


def options(chunks: list[torch.nn.Module]) -> dict[str, int]:
    from mindspeed.features.memory.adaptive_recompute import Run

    run = Run._runs.get(chunks[0])
    if run is None or run.plan is None:
        return {}
    return {str(option): count for option, count in collections.Counter(run.plan.options.values()).items()}


def main() -> None:
    warnings.simplefilter("ignore")  # that the least limit is too little
    for case in map(json.loads, sys.argv[1:]):
        with memory_job.sizes(case["sizes"]):
            most = train(case, None)
            least = train(case, 1)
            results = [most, least]
            low, high = (max(one["peaks"]) - one["before"] for one in (least, most))
            for fraction in case["fractions"]:
                results.append(train(case, round((low + fraction * (high - low)) / MIB)))
        if os.environ["RANK"] == "0":
            for result in results:
                print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
