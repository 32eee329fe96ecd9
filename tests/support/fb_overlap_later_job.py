# SPDX-License-Identifier: Apache-2.0
"""With --moe-fb-overlap on a Megatron Core that has it itself: two steps of two ranks without and with it.

Prints a JSON object for each on rank 0: losses and norms, and how many passes Megatron planned with another one.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import mindspeed.megatron_adaptor as adaptor
import parallel_job
import torch
from parallel_layouts import Layout

FLAGS = {"num_experts": 8, "moe_grouped_gemm": True, "expert_model_parallel_size": 2}
LAYOUT = Layout(model="moe", dtype="bf16", world=2, ep=2, dispatcher="alltoall", grouped=True)
planned = 0


def forward_step(
    source: Iterator[dict[str, Any]],
    model: torch.nn.Module,
    per_token: bool,
    return_schedule_plan: bool = False,
) -> tuple[Any, Callable[..., Any]]:
    """As Megatron's pretrain_gpt.py has it: the plan of a pass instead of the pass where Megatron asks for one."""
    global planned
    planned += return_schedule_plan
    batch = next(source)
    run = model.build_schedule_plan if return_schedule_plan else model
    output = run(batch["tokens"], batch["position_ids"], batch.get("attention_mask"), labels=batch["labels"])
    return output, functools.partial(parallel_job._loss, per_token=per_token)


def train(number: int, on: bool) -> dict[str, Any]:
    global planned
    planned = 0
    adaptor.repatch(FLAGS | {"moe_token_dispatcher_type": "alltoall", "moe_fb_overlap": on})
    parallel_job.initialize(LAYOUT, number)
    config = parallel_job.transformer_config(LAYOUT)
    chunks = parallel_job.build_model(LAYOUT, config)
    optimizer = parallel_job.build_optimizer(LAYOUT, chunks)
    parallel_job.connect(LAYOUT, config, chunks, optimizer)
    steps = [parallel_job.train_step(LAYOUT, chunks, optimizer, step) for step in range(2)]
    parallel_job.finalize()
    return {"steps": steps, "planned": planned}


def main() -> None:
    parallel_job.BATCH = 8
    parallel_job.forward_step = forward_step
    for number, on in enumerate((False, True)):
        found = train(number, on)
        if os.environ["RANK"] == "0":
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
