# SPDX-License-Identifier: Apache-2.0
"""Two ranks train a model that is not defined in the order of its use: bucket_order_job.py FLAGS, as JSON for repatch().

Rank 0 prints the losses and, for each step, how many groups of buckets nobody had begun to gather when they were needed; then
where the buckets begin and how large they are, in bytes of gradients.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from typing import Any

import mindspeed.megatron_adaptor as adaptor
import parallel_job
import torch
from parallel_layouts import Layout


def disorder(chunk: torch.nn.Module) -> None:
    """The embedding is defined last, and attention after the MLP."""
    model = chunk.module if hasattr(chunk, "module") else chunk
    for module, name in [
        (model, "embedding"),
        *((layer, "self_attention") for layer in model.decoder.layers),
    ]:
        module._modules[name] = module._modules.pop(name)


def main() -> None:
    from megatron.core import parallel_state, tensor_parallel
    from megatron.core.distributed import param_and_grad_buffer

    adaptor.repatch(json.loads(sys.argv[1]))
    group_class = param_and_grad_buffer._ParamAndGradBucketGroup
    finish, late = group_class.finish_param_sync, 0

    @functools.wraps(finish)
    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal late
        late += not self.param_gather_dispatched
        return finish(self, *args, **kwargs)

    group_class.finish_param_sync = watched
    layout = Layout(model="dense", dtype="fp32", world=2, optimizer="overlap")
    store, rank, world = next(torch.distributed.rendezvous("env://"))
    torch.npu.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("hccl", store=store, rank=rank, world_size=world)
    parallel_state.initialize_model_parallel(create_gloo_process_groups=False)
    tensor_parallel.model_parallel_cuda_manual_seed(1)
    config = parallel_job.transformer_config(layout)
    chunk = parallel_job.build_chunk(layout, config, 0)
    disorder(chunk)
    chunks = [parallel_job.wrap(layout, config, chunk, 0)]
    optimizer = parallel_job.build_optimizer(layout, chunks)
    parallel_job.connect(layout, config, chunks, optimizer)
    row: dict[str, list[Any]] = {"losses": [], "late": []}
    for step in range(5):
        late = 0
        row["losses"].append(parallel_job.train_step(layout, chunks, optimizer, step)[0])
        row["late"].append(late)
    buffers = chunks[0].buffers
    row["begins"] = [
        begin * buffer.grad_data.element_size() for buffer in buffers for begin, _ in buffer.bucket_indices
    ]
    row["sizes"] = [
        (end - begin) * buffer.grad_data.element_size()
        for buffer in buffers
        for begin, end in buffer.bucket_indices
    ]
    if rank == 0:
        print(json.dumps(row), flush=True)
    group_class.finish_param_sync = finish
    parallel_job.finalize()


if __name__ == "__main__":
    main()
