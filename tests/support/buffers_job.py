# SPDX-License-Identifier: Apache-2.0
"""A rank of Megatron's groups: how large the shared memory of its tensor-parallel group is, and what the groups were told.

buffers_job.py FLAGS    those of the features, and Megatron's that they look at, as JSON
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import mindspeed.megatron_adaptor as adaptor
import torch
import torch_npu  # noqa: F401

adaptor.repatch({"optimization_level": 2} | json.loads(sys.argv[1]))


def shared() -> int:
    """Bytes of HCCL's memory that this process has mapped."""
    found = re.findall(r"^(\w+)-(\w+) .*memfd:hccl", Path("/proc/self/maps").read_text(), re.MULTILINE)
    return sum(int(end, 16) - int(begin, 16) for begin, end in found)


def main() -> None:
    from megatron.core import parallel_state

    torch.npu.set_device(int(os.environ["LOCAL_RANK"]))
    store, rank, world = next(torch.distributed.rendezvous("env://"))
    torch.distributed.init_process_group("hccl", store=store, rank=rank, world_size=world)
    parallel_state.initialize_model_parallel(
        tensor_model_parallel_size=world, create_gloo_process_groups=False
    )
    group = parallel_state.get_tensor_model_parallel_group()
    before = shared()
    x = torch.full((1000,), float(rank), device="npu")
    torch.distributed.all_reduce(x, group=group)
    torch.npu.synchronize()
    assert x.eq(sum(range(world))).all()
    options = {
        name: getattr(parallel_state, f"get_{word}_group")()
        ._get_backend(torch.device("npu"))
        .options.hccl_config
        for name, word in (("tp", "tensor_model_parallel"), ("pp", "pipeline_model_parallel"))
    }
    if rank == 0:
        print(json.dumps({"shared": shared() - before, "options": options}), flush=True)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
