# SPDX-License-Identifier: Apache-2.0
"""A pipeline in the shape of a V whose passes take a fixed time: vee_job.py BATCHES MILLISECONDS [apart], of a forward pass.

Each pass adds one to what it is given, so what comes out tells how many stages a batch went through. Rank 0 prints how long the
step took, what came out at the end and at the beginning, and the length of the plan. With `apart` gradients of weights are passes of their own.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import mindspeed.megatron_adaptor  # noqa: F401
import torch
import torch_npu  # noqa: F401
from mindspeed.features.pipeline import _vee, _vee_run


class Sleeping:
    """Passes that take their time and compute next to nothing."""

    forward_only = False

    def __init__(self, seconds: float, rank: int, order: _vee.Plan) -> None:
        self._seconds, self._rank, self._place, self._costs = seconds, rank, order.place, order.costs
        self.out: list[float] = []
        self.back: list[float] = []

    def _pass(self, step: _vee.Pass, given: Any) -> torch.Tensor:
        tensor = torch.zeros(64, device="npu") if given is None else given.detach()
        torch.npu.current_stream().synchronize()  # until what it is given is there
        time.sleep(self._seconds * self._costs[step.kind])
        return tensor + 1

    def forward(self, step: _vee.Pass, model: Any, given: Any) -> torch.Tensor:
        found = self._pass(step, given)
        if self._place.stage(self._rank, step.chunk) == self._place.last:
            self.out.append(found[0].item())
        return found

    def backward(self, step: _vee.Pass, given: Any, output: Any, gradient: Any) -> torch.Tensor | None:
        found = self._pass(step, gradient)
        if self._place.stage(self._rank, step.chunk) > 0:
            return found
        self.back.append(found[0].item())
        return None

    def weights(self, step: _vee.Pass) -> None:
        time.sleep(self._seconds * self._costs[step.kind])

    def free(self, output: torch.Tensor) -> None:
        pass


def main() -> None:
    batches, seconds = int(sys.argv[1]), float(sys.argv[2]) / 1e3
    torch.npu.set_device(int(os.environ["LOCAL_RANK"]))
    store, rank, world = next(torch.distributed.rendezvous("env://"))
    torch.distributed.init_process_group("hccl", store=store, rank=rank, world_size=world)
    order = _vee.plan(world, batches, is_apart=sys.argv[3:] == ["apart"])
    pipeline = torch.distributed.new_group(list(range(world)))
    for turn in range(2):  # the first makes the communicators
        steps = Sleeping(seconds * turn, rank, order)
        mail = _vee_run.Mail(order, rank, pipeline, ((64,), torch.float32))
        torch.distributed.barrier()
        begin = time.perf_counter()
        _vee_run.Run([None, None], order, rank, mail, steps).run()
        torch.distributed.barrier()
        torch.npu.synchronize()
        took = time.perf_counter() - begin
    if rank == 0:
        row = {"took": took, "plan": order.length * seconds, "out": steps.out, "back": steps.back}
        print(json.dumps(row), flush=True)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
