# SPDX-License-Identifier: Apache-2.0
"""What the first of two ranks computes while the second one is late with tokens and with their gradients.

    experts_overlap_job.py DISPATCHER

Without and with the flag that overlaps the dispatcher, rank 0 prints in a line of JSON: seconds from the start of the
forward pass until its shared experts are through, then in what order it sent gradients of tokens and had those of experts'
weights in the backward pass, and seconds until the last of these. Rank 1 sends tokens and gradients DELAY late.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import mindspeed.megatron_adaptor as adaptor
import parallel_job
import torch
from mindspeed.features.moe import _companion
from mindspeed.ops import gmm
from parallel_layouts import Layout

DELAY, TOKENS, RANK = 3.0, 16, int(os.environ["RANK"])
# Which call of the forward pass brings tokens, and which function brings their gradients.
TOKENS_BY = {"alltoall": ("all_to_all_single", 1), "allgather": ("dist_all_gather_func", 3)}
GRADIENTS_BY = {"alltoall": ("all_to_all_single", 2), "allgather": ("dist_reduce_scatter_func", 1)}


class Watch:
    def __init__(self, kind: str, layer: Any) -> None:
        from megatron.core.tensor_parallel import mappings

        self.layer, self.is_backward = layer, False
        self.start, self.shared, self.calls = 0.0, 0.0, 0
        self.order: list[str] = []
        self.last = 0.0
        self.tokens, self.gradients = TOKENS_BY[kind], GRADIENTS_BY[kind]
        places = {"all_to_all_single": torch.distributed}
        functions = {self.tokens[0], self.gradients[0]}
        self._replaced = [(places.get(name, mappings), name, self._send(name)) for name in functions]
        self._replaced += [(module, "weight_gradient", self._weight) for module in (gmm, _companion)]

    def __enter__(self) -> Watch:
        self._kept = [(module, name, getattr(module, name)) for module, name, _ in self._replaced]
        for (module, name, replace), (_, _, function) in zip(self._replaced, self._kept, strict=True):
            setattr(module, name, functools.partial(replace, function))
        forward = self.layer.shared_experts.forward

        def noting(hidden: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = forward(hidden)
            torch.npu.current_stream().synchronize()
            self.shared = self.shared or time.monotonic() - self.start
            return result

        self.layer.shared_experts.forward = noting
        return self

    def __exit__(self, *_: object) -> None:
        for module, name, function in self._kept:
            setattr(module, name, function)
        del self.layer.shared_experts.forward

    def begin(self, is_backward: bool) -> None:
        torch.npu.synchronize()
        torch.distributed.barrier()
        torch.npu.synchronize()
        self.is_backward, self.calls, self.start = is_backward, 0, time.monotonic()

    def _send(self, name: str) -> Callable[..., Any]:
        def send(function: Any, *args: Any, **kwargs: Any) -> Any:
            wanted = self.gradients if self.is_backward else self.tokens
            if name == wanted[0]:
                self.calls += 1
                if self.calls == wanted[1]:
                    self.order += ["sent"] if self.is_backward else []
                    if RANK == 1:
                        torch.npu.synchronize()
                        time.sleep(DELAY)
            return function(*args, **kwargs)

        return send

    def _weight(self, function: Any, *args: Any) -> Any:
        result = function(*args)
        torch.npu.current_stream().synchronize()
        self.order.append("weight")
        self.last = time.monotonic() - self.start
        return result


def found(kind: str, is_on: bool, number: int) -> dict[str, Any]:
    from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
    from megatron.core.transformer.spec_utils import build_module

    flags = {"num_experts": parallel_job.EXPERTS, "moe_grouped_gemm": True, "expert_model_parallel_size": 2}
    flag = f"moe_{kind}_overlap_comm"
    off = {f"moe_{other}_overlap_comm": False for other in TOKENS_BY}
    adaptor.repatch(
        {"optimization_level": 2} | flags | off | {"moe_token_dispatcher_type": kind, flag: is_on}
    )
    layout = Layout(model="moe", world=2, ep=2, dispatcher=kind, grouped=True)
    parallel_job.initialize(layout, number)
    config = parallel_job.transformer_config(layout)
    spec = get_gpt_layer_local_spec(num_experts=parallel_job.EXPERTS, moe_grouped_gemm=True)
    layer = build_module(spec.submodules.mlp, config=config).npu()
    tokens = torch.randn(TOKENS, 1, parallel_job.HIDDEN, device="npu", requires_grad=True)
    layer(tokens)[0].sum().backward()  # the first time ranks connect, and wait for each other
    with Watch(kind, layer) as watch:
        watch.begin(is_backward=False)
        output, _ = layer(tokens)
        watch.begin(is_backward=True)
        output.sum().backward()
        torch.npu.synchronize()
    parallel_job.finalize()
    return {"shared": watch.shared, "order": watch.order, "weights": watch.last}


def main() -> None:
    rows = {word: found(sys.argv[1], word == "on", number) for number, word in enumerate(("off", "on"))}
    if RANK == 0:
        print(json.dumps({"delay": DELAY, **rows}), flush=True)


if __name__ == "__main__":
    main()
