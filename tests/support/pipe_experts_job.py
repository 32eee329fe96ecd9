# SPDX-License-Identifier: Apache-2.0
"""How many products of experts the first of two ranks has computed while the second one's last message is missing.

Without and with --use-pipe-experts, of two experts in two parts: rank 1 is late with the last message of the way to the experts, and
with the last of the gradients that come back through them. Rank 0 prints a line of JSON: of each pass, products before it came.
"""

from __future__ import annotations

import functools
import json
import os
import time
from typing import Any

import mindspeed.megatron_adaptor as adaptor
import parallel_job
import torch
from parallel_layouts import Layout

DELAY, TOKENS, RANK = 2.0, 16, int(os.environ["RANK"])
PIPE = {"use_pipe_experts": True, "pipe_experts_multi_data": 2}
EXPERTS, PARTS = 4, 4


class Watch:
    """Counts what has ended up to half of the delay."""

    def __init__(self, late: int) -> None:
        self.late, self.calls, self.events = late, 0, []
        self._exchange = torch.distributed.all_to_all_single

    def exchange(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        if self.calls == self.late and RANK == 1:
            torch.npu.synchronize()
            time.sleep(DELAY)
        return self._exchange(*args, **kwargs)

    def note(self, *_: Any) -> None:
        event = torch.npu.Event()
        event.record()
        self.events.append(event)

    def run(self, function: Any) -> int:
        torch.npu.synchronize()
        torch.distributed.barrier()
        torch.npu.synchronize()
        self.calls, self.events = 0, []
        torch.distributed.all_to_all_single = self.exchange
        function()
        time.sleep(max(0.0, DELAY / 2))
        done = sum(event.query() for event in self.events)
        torch.npu.synchronize()
        torch.distributed.all_to_all_single = self._exchange
        return done


def found(is_on: bool, number: int) -> dict[str, int]:
    from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
    from megatron.core.transformer.spec_utils import build_module

    flags = {"num_experts": EXPERTS, "moe_model_type": "deepspeed_moe", "expert_model_parallel_size": 2}
    adaptor.repatch({"optimization_level": 2, "use_pipe_experts": False} | flags | (PIPE if is_on else {}))
    layout = Layout(model="moe", world=2, ep=2)
    parallel_job.initialize(layout, number)
    config = parallel_job.transformer_config(layout, num_moe_experts=EXPERTS)
    spec = get_gpt_layer_local_spec(num_experts=EXPERTS, moe_grouped_gemm=False)
    layer = build_module(spec.submodules.mlp, config=config).npu()
    tokens = torch.randn(TOKENS, 1, parallel_job.HIDDEN, device="npu", requires_grad=True)
    layer(tokens)[0].sum().backward()  # the first time ranks connect, and wait for each other
    watch = Watch(late=PARTS if is_on else 1)
    held: dict[str, Any] = {}
    for expert in layer.experts.local_experts:
        expert.register_forward_hook(lambda *_: watch.note())
    forward = watch.run(lambda: held.update(output=layer(tokens)[0]))
    for expert in layer.experts.local_experts:
        expert.linear_fc1.weight.register_post_accumulate_grad_hook(watch.note)
    backward = watch.run(functools.partial(held["output"].sum().backward))
    parallel_job.finalize()
    return {"forward": forward, "backward": backward}


def main() -> None:
    rows = {word: found(word == "on", number) for number, word in enumerate(("off", "on"))}
    if RANK == 0:
        print(json.dumps(rows), flush=True)


if __name__ == "__main__":
    main()
