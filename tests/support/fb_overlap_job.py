# SPDX-License-Identifier: Apache-2.0
"""When the second forward pass has ended while the other rank's first message of the first backward pass is late.

Of two micro-batches on two ranks, without and with --moe-fb-overlap: rank 1 sends its first message of a backward pass DELAY late. Rank 0
prints a line of JSON: seconds from the end of the first forward pass to that of the second one.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import mindspeed.megatron_adaptor as adaptor
import parallel_job
import torch
from parallel_layouts import Layout

DELAY, RANK = 4.0, int(os.environ["RANK"])


class Watch:
    def __init__(self) -> None:
        from megatron.core.tensor_parallel import mappings

        self.backward_calls, self.ends = 0, []
        self._exchange = mappings._AllToAll

    def late(self, backward: Any) -> Any:
        def called(ctx: Any, *gradients: Any) -> Any:
            self.backward_calls += 1
            if self.backward_calls == 1 and RANK == 1:
                time.sleep(DELAY)
            return backward(ctx, *gradients)

        return called

    def forward_ended(self, *_: Any) -> None:
        torch.npu.current_stream().synchronize()
        self.ends.append(time.monotonic())


def found(is_on: bool, number: int) -> float:
    from megatron.core.tensor_parallel import mappings

    flags = {"num_experts": parallel_job.EXPERTS, "moe_grouped_gemm": True, "expert_model_parallel_size": 2}
    flags |= {"moe_token_dispatcher_type": "alltoall", "optimization_level": 2, "moe_fb_overlap": is_on}
    adaptor.repatch(flags)
    layout = Layout(model="moe", world=2, ep=2, dispatcher="alltoall", grouped=True, layers=2)
    parallel_job.BATCH = 4  # two micro-batches on each rank
    parallel_job.initialize(layout, number)
    config = parallel_job.transformer_config(layout)
    chunks = parallel_job.build_model(layout, config)
    optimizer = parallel_job.build_optimizer(layout, chunks)
    parallel_job.connect(layout, config, chunks, optimizer)
    parallel_job.train_step(
        layout, chunks, optimizer, 0
    )  # the first time ranks connect, and wait for each other
    watch = Watch()
    backward = mappings._AllToAll.backward
    mappings._AllToAll.backward = staticmethod(watch.late(backward))
    hook = chunks[0].register_forward_hook(watch.forward_ended)
    torch.npu.synchronize()
    torch.distributed.barrier()
    torch.npu.synchronize()
    parallel_job.train_step(layout, chunks, optimizer, 1)
    mappings._AllToAll.backward = backward
    hook.remove()
    parallel_job.finalize()
    first, second = watch.ends
    return second - first


def main() -> None:
    rows: dict[str, float] = {word: found(word == "on", number) for number, word in enumerate(("off", "on"))}
    if RANK == 0:
        print(json.dumps({"delay": DELAY, **rows}), flush=True)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
