# SPDX-License-Identifier: Apache-2.0
"""The training job of test_smart_swap.py: `torchrun ... swap_job.py CASE...`, all of one world size.

A case is JSON: `layout` as in parallel_layouts.py, `sizes` of the model, `flags` as repatch() takes them, `steps`, `fractions`, and
`others`, sizes of single steps by their number.
It is trained without the feature, with it where everything fits, with a limit that nothing fits into, and once for each fraction with
a limit that lies that far between what is said to be needed then and what the allocator takes with everything kept. Rank 0 prints a
line for each: `limit` in bytes above what is there before (a model of experts that was trained before is: its hooks keep it), `losses`
and `norms`, and of all ranks `taken` (what the allocator took at most, in all steps, likewise), `peak` (bytes asked for at most in the
last passes) and `foreseen` (the same by the plan), `moved` (blocks of the last plan that go), `retries` (how often the allocator gave
everything back after the first plan), `warnings`, and `needed`, what an error has named.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import device_memory
import memory_job
import mindspeed.megatron_adaptor as adaptor
import parallel_job
import torch
from parallel_layouts import Layout

MIB = 1 << 20
NUMBERS = iter(range(1, 1000))
LEAST = 2  # steps with everything away
NOTHING = -(1 << 62)  # a limit that nothing fits into


@contextlib.contextmanager
def most_taken() -> Iterator[list[int]]:
    """What the allocator takes at most while this lasts, whoever forgets its peaks meanwhile."""
    found, forget = [0], torch.npu.reset_peak_memory_stats

    def look() -> None:
        found[0] = max(found[0], torch.npu.max_memory_reserved())

    def looking(*args: Any) -> None:
        look()
        forget(*args)

    torch.npu.empty_cache()
    forget()
    torch.npu.reset_peak_memory_stats = looking
    try:
        yield found
    finally:
        torch.npu.synchronize()
        look()
        torch.npu.reset_peak_memory_stats = forget


def train(case: dict[str, Any], limit: int | None, is_on: bool = True) -> dict[str, Any]:
    layout = Layout(**case["layout"])
    parallel_job.initialize(layout, next(NUMBERS))
    torch.npu.set_per_process_memory_fraction(1.0)
    before = device_memory.in_use()
    size = None if limit is None else max(-(-(limit + before) // MIB), 1)
    adaptor.repatch(memory_job.OFF | case["flags"] | {"smart_swap": is_on, "smart_swap_device_size": size})
    config = parallel_job.transformer_config(layout, **case.get("config", {}))
    chunks = parallel_job.build_model(layout, config)
    optimizer = parallel_job.build_optimizer(layout, chunks)
    parallel_job.connect(layout, config, chunks, optimizer)
    steps, peaks, update, retries, needed = [], [], optimizer.step, 0, 0

    def step() -> Any:
        torch.npu.synchronize()
        peaks.append(memory_job.in_use("peak"))
        return update()

    optimizer.step = step
    with most_taken() as taken, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for number in range(case["steps"]):
            if number >= LEAST:
                torch.npu.reset_peak_memory_stats()
            if number == LEAST:
                retries = torch.npu.memory_stats()["num_alloc_retries"]
            try:
                with memory_job.sizes(case.get("others", {}).get(str(number), {})):
                    steps.append(parallel_job.train_step(layout, chunks, optimizer, number))
            except RuntimeError as error:
                if size != 1:
                    raise
                needed = int(re.findall(r"give --smart-swap-device-size (\d+) or more", str(error))[0])
                break
        retries = torch.npu.memory_stats()["num_alloc_retries"] - retries
    mine = {
        "taken": taken[0] - before, "peak": peaks[-1] if peaks else 0, **plan_of(chunks),
        "retries": retries, "needed": needed * MIB - before,
        "warnings": [str(one.message) for one in told if "smart-swap" in str(one.message)],
    }  # fmt: skip
    ranks: list[Any] = [None] * layout.world
    torch.distributed.all_gather_object(ranks, mine)
    found = {key: [rank[key] for rank in ranks] for key in mine}
    parallel_job.finalize()
    return found | {
        "limit": None if size is None else size * MIB - before,
        "losses": [loss for loss, _ in steps],
        "norms": [norm for _, norm in steps],
    }


def plan_of(chunks: list[torch.nn.Module]) -> dict[str, int]:
    from mindspeed.features.memory.smart_swap import Run

    run = Run._runs.get(chunks[0])
    plan = None if run is None else run.plan
    return {"moved": -1 if plan is None else len(plan.leave), "foreseen": 0 if plan is None else plan.peak}


def main() -> None:
    for case in map(json.loads, sys.argv[1:]):
        with memory_job.sizes(case["sizes"]):
            results = [train(case, None, is_on=False), train(case, None), train(case, NOTHING)]
            most, least = max(results[0]["taken"]), max(results[2]["needed"])
            for fraction in case["fractions"]:
                results.append(train(case, round(least + fraction * (most - least))))
        if os.environ["RANK"] == "0":
            for result in results:
                print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
