# SPDX-License-Identifier: Apache-2.0
"""Ranks train with averages of 8 bits and keep them: low_precision_job.py FOLDER OPTIMIZER KIND.

Rank 0 prints what held on all ranks.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import mindspeed.megatron_adaptor as adaptor
import parallel_checkpoint
import parallel_job
import torch
from mindspeed.features.optimizer._blocks import Coded
from parallel_layouts import Layout

STEPS = 4


def started(layout: Layout, kind: str | None) -> tuple[list[torch.nn.Module], Any]:
    adaptor.repatch({"optimization_level": 1, "quant_states": kind})
    config = parallel_job.transformer_config(layout)
    chunks = parallel_job.build_model(layout, config)
    optimizer = parallel_job.build_optimizer(layout, chunks, with_gloo=True)
    parallel_job.connect(layout, config, chunks, optimizer)
    return chunks, optimizer


def states(optimizer: Any) -> list[Any]:
    return [
        one.optimizer.state[main][name]
        for one in optimizer.chained_optimizers
        for group in one.optimizer.param_groups
        for main in group["params"]
        for name in ("exp_avg", "exp_avg_sq")
    ]


def averages(optimizer: Any) -> list[torch.Tensor]:
    return [s.decoded() if isinstance(s, Coded) else s.detach().cpu().clone() for s in states(optimizer)]


def same(some: list[torch.Tensor], others: list[torch.Tensor]) -> bool:
    return len(some) == len(others) > 0 and all(map(torch.equal, some, others))


def losses(layout: Layout, chunks: list[torch.nn.Module], optimizer: Any, first: int) -> list[float]:
    return [
        parallel_job.train_step(layout, chunks, optimizer, step)[0] for step in range(first, first + STEPS)
    ]


def is_near(some: list[float], others: list[float]) -> bool:
    return all(abs(a - b) <= 0.02 * b for a, b in zip(some, others, strict=True))


def through_a_file(optimizer: Any) -> dict[str, bool]:
    """--ckpt-format torch: one vector of each state on the first rank."""
    before = averages(optimizer)
    kept = [one.get_parameter_state_dp_zero() for one in optimizer.chained_optimizers]
    for state in states(optimizer):
        (state.data if isinstance(state, Coded) else state).zero_()
    for one, state in zip(optimizer.chained_optimizers, kept, strict=True):
        one.load_parameter_state_from_dp_zero(state)
    return {"a file gives them back": same(averages(optimizer), before)}


def main() -> None:
    folder, optimizer, kind = sys.argv[1:]
    layout = Layout(model="dense", dtype="bf16", world=2, optimizer=optimizer)
    parallel_job.initialize(layout, 0, with_gloo=True)
    chunks, plain = started(layout, None)
    exact = losses(layout, chunks, plain, 0)
    chunks, trained = started(layout, kind)
    held = {"losses are near": is_near(losses(layout, chunks, trained, 0), exact)}
    held["most are coded"] = sum(isinstance(s, Coded) for s in states(trained)) > len(states(trained)) // 2
    if optimizer != "plain":
        held |= through_a_file(trained)
    parallel_checkpoint.save(folder, chunks, trained)
    kept, wanted = averages(trained), losses(layout, chunks, trained, STEPS)
    chunks, trained = started(layout, kind)
    parallel_checkpoint.load(folder, chunks, trained)
    held["a checkpoint gives them back"] = same(averages(trained), kept)
    held["training goes on"] = losses(layout, chunks, trained, STEPS) == wanted
    chunks, trained = started(layout, None)
    parallel_checkpoint.load(folder, chunks, trained)
    held["into an Adam without"] = same(averages(trained), kept)
    held["which goes on nearby"] = is_near(losses(layout, chunks, trained, STEPS), wanted)
    parallel_checkpoint.save(folder + "-plain", chunks, trained)
    chunks, trained = started(layout, kind)
    parallel_checkpoint.load(folder + "-plain", chunks, trained)
    held["and back"] = any(isinstance(s, Coded) for s in states(trained))
    counts = torch.tensor([int(value) for value in held.values()], device="npu")
    torch.distributed.all_reduce(counts, op=torch.distributed.ReduceOp.MIN)
    if torch.distributed.get_rank() == 0:
        print(json.dumps(dict(zip(held, map(bool, counts.tolist()), strict=True))), flush=True)
    parallel_job.finalize()


if __name__ == "__main__":
    main()
