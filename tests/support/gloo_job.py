# SPDX-License-Identifier: Apache-2.0
"""Two ranks train a step, one gathers the optimizer's state and gives it back: gloo_job.py FLAGS, those of the feature as JSON.

"by_name" among the flags: by the functions of the original's names, while the feature is off.

Rank 0 prints what the state is (a digest), whether scattering it changed a value anywhere, and the backends of all groups.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import sys
from typing import Any

import mindspeed.megatron_adaptor as adaptor
import parallel_job
import torch
from mindspeed.optimizer import distrib_optimizer
from mindspeed.utils import check_param_hashes_across_dp_replicas_hccl
from parallel_layouts import Layout


def values(state: Any) -> list[torch.Tensor]:
    """All tensors of nested dictionaries, in the order of their keys."""
    if isinstance(state, torch.Tensor):
        return [state]
    if isinstance(state, dict):
        return [value for key in sorted(state, key=str) for value in values(state[key])]
    return []


def digest(tensors: list[torch.Tensor]) -> str:
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


def main() -> None:
    from megatron.core import parallel_state, tensor_parallel

    flags = json.loads(sys.argv[1])
    by_name = flags.pop("by_name", False)
    adaptor.repatch(flags)
    layout = Layout(model="dense", dtype="bf16", world=2, optimizer="distributed")
    store, rank, world = next(torch.distributed.rendezvous("env://"))
    torch.npu.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("hccl", store=store, rank=rank, world_size=world)
    parallel_state.initialize_model_parallel()
    config = parallel_job.transformer_config(layout)
    tensor_parallel.model_parallel_cuda_manual_seed(1)
    chunks = parallel_job.build_model(layout, config)
    optimizer = parallel_job.build_optimizer(layout, chunks, with_gloo=True)
    parallel_job.connect(layout, config, chunks, optimizer)
    parallel_job.train_step(layout, chunks, optimizer, 0)
    (distributed,) = optimizer.chained_optimizers

    def mine() -> list[torch.Tensor]:
        states = distributed.optimizer.state
        return [states[p][key] for p in states for key in ("exp_avg", "exp_avg_sq")]

    before = digest(mine())
    get, load = distributed.get_parameter_state_dp_zero, distributed.load_parameter_state_from_dp_zero
    if by_name:
        get = functools.partial(distrib_optimizer.get_parameter_state_dp_zero_hccl, distributed)
        load = functools.partial(distrib_optimizer.load_parameter_state_from_dp_zero_hccl, distributed)
    state = get()
    for tensor in mine():
        tensor.zero_()
    load(state)
    same = torch.tensor([int(before == digest(mine()))], device="npu")
    torch.distributed.all_reduce(same)
    hashes = [check_param_hashes_across_dp_replicas_hccl(chunks)]
    if rank == 1:
        next(chunks[0].parameters()).data.add_(1)
    agree = torch.tensor([int(check_param_hashes_across_dp_replicas_hccl(chunks))], device="npu")
    torch.distributed.all_reduce(agree)
    hashes.append(int(agree))
    if rank == 0:
        world_groups = torch.distributed.distributed_c10d._world.pg_map
        row = {
            "hashes": hashes,
            "state": digest(values(state)),
            "ranks with their own again": int(same),
            "backends": sorted({backend for backend, _ in world_groups.values()}),
        }
        print(json.dumps(row), flush=True)
    parallel_job.finalize()


if __name__ == "__main__":
    main()
