# SPDX-License-Identifier: Apache-2.0
"""Ranks that share the optimizer's state train with averages, and keep them: averages_job.py FOLDER OPTIMIZER.

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
from parallel_layouts import Layout

DECAY, KEY = 0.75, "ema_params"


def started(layout: Layout, selection: str) -> tuple[list[torch.nn.Module], Any]:
    adaptor.repatch({"optimization_level": 2, "optimizer_selection": selection, "ema_decay": DECAY})
    config = parallel_job.transformer_config(layout)
    chunks = parallel_job.build_model(layout, config)
    optimizer = parallel_job.build_optimizer(layout, chunks, with_gloo=True)
    parallel_job.connect(layout, config, chunks, optimizer)
    return chunks, optimizer


def states(optimizer: Any) -> list[tuple[torch.Tensor, dict[str, torch.Tensor]]]:
    """(main parameter, its state)."""
    return [
        (main, one.optimizer.state[main])
        for one in optimizer.chained_optimizers
        for group in one.optimizer.param_groups
        for main in group["params"]
    ]


def averages(optimizer: Any) -> list[torch.Tensor]:
    return [state[KEY].clone() for _, state in states(optimizer)]


def same(some: list[torch.Tensor], others: list[torch.Tensor]) -> bool:
    return len(some) == len(others) > 0 and all(map(torch.equal, some, others))


def the_definition(layout: Layout, chunks: list[torch.nn.Module], optimizer: Any) -> bool:
    """Two steps, and what the averages must be after them."""
    expected = [main.detach().double().cpu() for main, _ in states(optimizer)]
    for step in range(2):
        parallel_job.train_step(layout, chunks, optimizer, step)
        mains = [main.detach().double().cpu() for main, _ in states(optimizer)]
        expected = [DECAY * e + (1 - DECAY) * m for e, m in zip(expected, mains, strict=True)]
    found = [average.double().cpu() for average in averages(optimizer)]
    return all(torch.allclose(f, e, rtol=1e-6, atol=1e-7) for f, e in zip(found, expected, strict=True))


def through_a_file(optimizer: Any) -> dict[str, bool]:
    """--ckpt-format torch: one vector of each state on the first rank. Without the averages, they begin anew."""
    before = averages(optimizer)
    kept = [one.get_parameter_state_dp_zero() for one in optimizer.chained_optimizers]
    for _, state in states(optimizer):
        state[KEY].zero_()
    for one, state in zip(optimizer.chained_optimizers, kept, strict=True):
        one.load_parameter_state_from_dp_zero(state)
    back = same(averages(optimizer), before)
    for state in kept:
        for buffer in state.values():
            for tensors in buffer.values() if isinstance(buffer, dict) else ():
                tensors.pop(KEY, None)
    for one, state in zip(optimizer.chained_optimizers, kept, strict=True):
        one.load_parameter_state_from_dp_zero(state)
    anew = same(averages(optimizer), [main.detach() for main, _ in states(optimizer)])
    for (_, state), average in zip(states(optimizer), before, strict=True):
        state[KEY].copy_(average)
    return {"a file gives them back": back, "a file without them": anew}


def parts(optimizer: Any) -> list[tuple[torch.Tensor, Any]]:
    """(parameter of the model, which part of it is this rank's)."""
    buckets = [b for maps in optimizer.gbuf_ranges for found in maps.values() for b in found]
    return [item for bucket in buckets for item in bucket["param_map"].items()]


def as_a_model(chunks: list[torch.nn.Module], optimizer: Any) -> dict[str, bool]:
    """In place of the parameters, on every rank all of them; then the parameters are what they were."""
    from mindspeed.features.optimizer import _averaged_model

    parameters = [p for chunk in chunks for p in chunk.parameters()]
    before = [p.detach().clone() for p in parameters]
    with torch.no_grad(), _averaged_model.averages_in(chunks, optimizer, KEY):
        inside = [p.detach().clone() for p in parameters]
    whole = torch.cat([p.float().reshape(-1) for p in inside]).cpu()
    expected = torch.zeros_like(whole)
    places, begin = {}, 0
    for p in parameters:
        places[p] = begin
        begin += p.numel()
    for one in optimizer.chained_optimizers:
        for p, cut in parts(one):
            group, order = one.model_param_group_index_map[p]
            average = one.optimizer.state[one.optimizer.param_groups[group]["params"][order]][KEY]
            at = places[p] + cut["param"].start
            expected[at : at + average.numel()] = average.to(p.dtype).float().cpu()
    expected = expected.to("npu")
    torch.distributed.all_reduce(expected)
    return {
        "the model of averages": torch.equal(whole, expected.cpu()),
        "the model afterwards": same([p.detach() for p in parameters], before),
        "they differ": not same(inside, before),
    }


def through_a_checkpoint(
    layout: Layout, folder: str, chunks: list[torch.nn.Module], optimizer: Any
) -> dict[str, bool]:
    """A distributed checkpoint: into the same kind, and into an Adam without averages. Both go on as the one that saved."""
    parallel_checkpoint.save(folder, chunks, optimizer)
    kept = averages(optimizer)
    wanted = parallel_job.train_step(layout, chunks, optimizer, 2)
    after = averages(optimizer)
    chunks, optimizer = started(layout, "fused_ema_adamw")
    parallel_checkpoint.load(folder, chunks, optimizer)
    loaded = same(averages(optimizer), kept)
    found = parallel_job.train_step(layout, chunks, optimizer, 2)
    goes_on = found == wanted and same(averages(optimizer), after)
    chunks, optimizer = started(layout, "fused_adamw")
    parallel_checkpoint.load(folder, chunks, optimizer)
    plain = parallel_job.train_step(layout, chunks, optimizer, 2) == wanted
    return {
        "a checkpoint gives them back": loaded,
        "training goes on": goes_on,
        "without averages too": plain and all(KEY not in state for _, state in states(optimizer)),
    }


def main() -> None:
    folder, optimizer = sys.argv[1:]
    layout = Layout(model="dense", dtype="bf16", world=2, optimizer=optimizer)
    parallel_job.initialize(layout, 0, with_gloo=True)
    chunks, trained = started(layout, "fused_ema_adamw")
    held = {"the definition": the_definition(layout, chunks, trained)}
    held |= through_a_file(trained) | as_a_model(chunks, trained)
    held |= through_a_checkpoint(layout, folder, chunks, trained)
    counts = torch.tensor([int(value) for value in held.values()], device="npu")
    torch.distributed.all_reduce(counts, op=torch.distributed.ReduceOp.MIN)
    if torch.distributed.get_rank() == 0:
        print(json.dumps(dict(zip(held, map(bool, counts.tolist()), strict=True))), flush=True)
    parallel_job.finalize()


if __name__ == "__main__":
    main()
