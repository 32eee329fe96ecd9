# SPDX-License-Identifier: Apache-2.0
"""As much of Megatron-LM's trainer, which megatron-core does not have, as recovery wraps: its names, the order of its calls and
what it counts (of release 0.12.1), on the model of the parallel tests. Each step draws from every generator."""

from __future__ import annotations

import json
import random
from argparse import Namespace
from collections.abc import Callable
from typing import Any

import numpy as np
import parallel_job
import torch
from megatron.core import tensor_parallel
from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler

ARGUMENTS = Namespace()


def get_args() -> Namespace:
    return ARGUMENTS


def num_floating_point_operations(args: Any, batch_size: int) -> int:
    return 1000 * batch_size


def setup_model_and_optimizer(layout: Any) -> tuple[Any, Any, Any]:
    args = get_args()
    config = parallel_job.transformer_config(layout)
    model = parallel_job.build_model(layout, config)
    optimizer = parallel_job.build_optimizer(layout, model)
    parallel_job.connect(layout, config, model, optimizer)
    scheduler = OptimizerParamScheduler(
        optimizer, init_lr=0.0, max_lr=parallel_job.RATE, min_lr=0.0, lr_warmup_steps=16, lr_decay_steps=200,
        lr_decay_style="linear", start_wd=0.1, end_wd=0.1, wd_incr_steps=1, wd_incr_style="constant",
    )  # fmt: skip
    assert args.load is None, f"a checkpoint is read: {args.load}"
    args.iteration = args.num_floating_point_operations_so_far = 0
    return model, optimizer, scheduler


def draw() -> list[float]:
    """From every generator."""
    with tensor_parallel.get_cuda_rng_tracker().fork():
        named = torch.rand(1, device="npu").item()
    return [
        random.random(),
        float(np.random.rand()),
        torch.rand(1).item(),
        torch.rand(1, device="npu").item(),
        named,
    ]


def train_step(
    forward_step_func: Any,
    data_iterator: Any,
    model: Any,
    optimizer: Any,
    opt_param_scheduler: Any,
    config: Any,
) -> dict[str, Any]:
    args = get_args()
    loss, norm = parallel_job.train_step(config, model, optimizer, args.curr_iteration)
    rate = optimizer.param_groups[0]["lr"]
    opt_param_scheduler.step(increment=args.global_batch_size)
    return {"step": args.curr_iteration, "loss": loss, "norm": norm, "rate": rate, "drawn": draw()}


def pretrain(layout: Any, until: int, before_step: Callable[[int], None]) -> None:
    """`before_step`: told each step, counted from 0. Rank 0 prints a line of JSON for each."""
    args = get_args()
    model, optimizer, scheduler = setup_model_and_optimizer(layout)
    torch.rand(args.iteration % 3 + 1)  # as a data loader does, from where it begins
    operations, iteration = args.num_floating_point_operations_so_far, args.iteration
    while iteration < until:
        args.curr_iteration = iteration
        before_step(iteration)
        row = train_step(None, None, model, optimizer, scheduler, layout)
        iteration += 1
        args.consumed_train_samples += args.global_batch_size
        operations += num_floating_point_operations(args, args.global_batch_size)
        if torch.distributed.get_rank() == 0:
            told = {"samples": args.consumed_train_samples, "operations": operations}
            print(json.dumps(row | told), flush=True)
