# SPDX-License-Identifier: Apache-2.0
"""A pipeline of passes in pairs, each of which waits until the other one has begun: pairs_job.py CHUNKS vee|rows BATCHES...

Each pass adds one to what it is given, so what comes out tells how many stages a batch went through. Rank 0 prints
what came out at either end, for each number of micro-batches in turn, and the number of pairs.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any

import mindspeed.megatron_adaptor as adaptor
import torch
import torch_npu  # noqa: F401
from mindspeed.features.moe._beside import Beside
from mindspeed.features.pipeline import _pairs, _pairs_run, _vee_run
from mindspeed.features.pipeline._vee import Pass

PATIENCE_S = 60


class Meeting:
    """Passes that end once the pass beside them has begun."""

    forward_only = False

    def __init__(self, rank: int, order: _pairs.Pairs) -> None:
        self._rank, self._place = rank, order.place
        self._pairs = {step: slot for slot in order.slots[rank] if len(slot) == 2 for step in slot}
        self._begun: dict[Pass, threading.Event] = {step: threading.Event() for step in self._pairs}
        self.out: list[float] = []
        self.back: list[float] = []

    def _pass(self, step: Pass, given: Any) -> torch.Tensor:
        if step in self._pairs:
            self._begun[step].set()
            (other,) = set(self._pairs[step]) - {step}
            if not self._begun[other].wait(PATIENCE_S):
                raise TimeoutError(f"{step} has waited for {other}")
        return (torch.zeros(64, device="npu") if given is None else given.detach()) + 1

    def forward(self, step: Pass, model: Any, given: Any) -> torch.Tensor:
        found = self._pass(step, given)
        if self._place.stage(self._rank, step.chunk) == self._place.last:
            self.out.append(found[0].item())
        return found

    def backward(self, step: Pass, given: Any, output: Any, gradient: Any) -> torch.Tensor | None:
        found = self._pass(step, gradient)
        if self._place.stage(self._rank, step.chunk) > 0:
            return found
        self.back.append(found[0].item())
        return None

    def free(self, output: torch.Tensor) -> None:
        pass


def main() -> None:
    from megatron.core import parallel_state

    chunks, is_vee = int(sys.argv[1]), sys.argv[2] == "vee"
    adaptor.repatch({})
    torch.npu.set_device(int(os.environ["LOCAL_RANK"]))
    store, rank, world = next(torch.distributed.rendezvous("env://"))
    torch.distributed.init_process_group("hccl", store=store, rank=rank, world_size=world)
    parallel_state.initialize_model_parallel(
        pipeline_model_parallel_size=world, create_gloo_process_groups=False
    )
    pipeline = parallel_state.get_pipeline_model_parallel_group()
    for batches in map(int, sys.argv[3:]):
        order = _pairs.pairs(world, batches, chunks, world, is_vee)
        steps = Meeting(rank, order)
        mail = _vee_run.Mail(order, rank, pipeline, ((64,), torch.float32))
        with Beside() as passes:
            _pairs_run.PairRun([None] * chunks, order, rank, mail, steps, passes).run()
        torch.npu.synchronize()
        torch.distributed.barrier()
        row = {"out": steps.out, "back": steps.back, "pairs": len(steps._pairs) // 2}
        found: list[Any] = [None] * world
        torch.distributed.all_gather_object(found, row)
        if rank == 0:
            ends = {name: max((each[name] for each in found), key=len) for name in ("out", "back")}
            print(json.dumps(ends | {"pairs": [each["pairs"] for each in found]}), flush=True)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
