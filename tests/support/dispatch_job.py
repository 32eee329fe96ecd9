# SPDX-License-Identifier: Apache-2.0
"""When the first of two ranks has sorted its tokens, while the second one is late: `torchrun ... dispatch_job.py [DELAY]`.

Of each dispatcher, without and with --moe-permutation-async-comm, rank 0 prints a line of JSON: seconds from the start of the
dispatch until its tokens are permuted (alltoall: the other rank starts DELAY later) or until it knows how many tokens its
experts get (allgather: the other rank sends its tokens DELAY later).
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

DELAY, TOKENS = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0, 16
KINDS = {"alltoall": "MoEAlltoAllTokenDispatcher", "allgather": "MoEAllGatherTokenDispatcher"}
RANK = int(os.environ["RANK"])


class Watch:
    """Notes when `permute` is called first (allgather) or has been carried out (alltoall), and lets rank 1 be late."""

    def __init__(self, kind: str) -> None:
        from megatron.core.transformer.moe import moe_utils, token_dispatcher

        self.kind, self.seconds, self.start = kind, 0.0, 0.0
        self._gathered = 0
        self._replaced = [
            (moe_utils, "permute", self._permute),
            (token_dispatcher, "permute", self._permute),
            (token_dispatcher, "gather_from_sequence_parallel_region", self._gather),
        ]

    def __enter__(self) -> Watch:
        self._kept = [(module, name, getattr(module, name)) for module, name, _ in self._replaced]
        for (module, name, replace), (_, _, function) in zip(self._replaced, self._kept, strict=True):
            setattr(module, name, replace(function))
        torch.distributed.barrier()
        torch.npu.synchronize()
        self.start = time.monotonic()
        if RANK == 1 and self.kind == "alltoall":
            time.sleep(DELAY)
        return self

    def __exit__(self, *_: Any) -> None:
        for module, name, function in self._kept:
            setattr(module, name, function)

    def _note(self) -> None:
        if not self.seconds:
            self.seconds = time.monotonic() - self.start

    def _permute(self, function: Any) -> Any:
        def permute(*args: Any, **kwargs: Any) -> Any:
            if self.kind == "allgather":
                self._note()
            result = function(*args, **kwargs)
            torch.npu.current_stream().synchronize()
            self._note()
            return result

        return permute

    def _gather(self, function: Any) -> Any:
        def gather(*args: Any, **kwargs: Any) -> Any:
            self._gathered += 1
            if RANK == 1 and self.kind == "allgather" and self._gathered == 3:
                torch.npu.synchronize()
                time.sleep(DELAY)
            return function(*args, **kwargs)

        return gather


def dispatch(dispatcher: Any, tokens: Any, probs: Any, routing_map: Any) -> Any:
    if hasattr(dispatcher, "token_permutation"):  # up to 0.12
        return dispatcher.token_permutation(tokens, probs, routing_map)[0]
    sent = dispatcher.dispatch_preprocess(tokens, routing_map, probs)
    return dispatcher.dispatch_postprocess(*dispatcher.token_dispatch(*sent))[0]


def groups() -> dict[str, Any]:
    """What later releases want to be given; earlier ones take them from Megatron's state."""
    from megatron.core.transformer.moe import moe_utils

    made = getattr(moe_utils, "get_default_pg_collection", None)
    return {"pg_collection": made()} if made else {}


def seconds(kind: str, is_on: bool, number: int) -> float:
    from megatron.core.transformer.moe import token_dispatcher

    adaptor.repatch({"moe_permutation_async_comm": is_on, "num_experts": parallel_job.EXPERTS})
    layout = Layout(model="moe", world=2, ep=2, dispatcher=kind)
    parallel_job.initialize(layout, number)
    local = parallel_job.EXPERTS // 2
    indices = list(range(RANK * local, (RANK + 1) * local))
    config = parallel_job.transformer_config(layout)
    dispatcher = getattr(token_dispatcher, KINDS[kind])(local, indices, config=config, **groups())
    generator = torch.Generator().manual_seed(RANK)
    logits = torch.randn(TOKENS, parallel_job.EXPERTS, generator=generator)
    chosen = logits.topk(parallel_job.TOP_K).indices
    routing_map = torch.zeros_like(logits, dtype=torch.bool).scatter(1, chosen, True).npu()
    tokens = torch.randn(TOKENS, 1, parallel_job.HIDDEN, generator=generator).npu()
    probs = (logits.softmax(-1).npu() * routing_map).requires_grad_()
    # The first time ranks connect, and wait for each other.
    dispatch(dispatcher, tokens, probs, routing_map)
    with Watch(kind) as watch:
        rows = dispatch(dispatcher, tokens, probs, routing_map)
    torch.npu.synchronize()
    assert rows.shape[1] == parallel_job.HIDDEN
    parallel_job.finalize()
    return watch.seconds


def main() -> None:
    for number, kind in enumerate(KINDS):
        found = [seconds(kind, is_on, 2 * number + is_on) for is_on in (False, True)]
        if RANK == 0:
            line = {"kind": kind, "delay": DELAY, "waiting": found[0], "async": found[1]}
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
