# SPDX-License-Identifier: Apache-2.0
"""A layer of experts of which some are chosen far more often, on four ranks, without and with copies of the busy ones.

Rank 0 prints a line of JSON: of each way the rows that each rank's experts compute, and how far output and gradients with copies
are from those without, relative to the largest number there.
"""

from __future__ import annotations

import functools
import json
import os
from typing import Any

import mindspeed.megatron_adaptor as adaptor
import parallel_job
import torch
from parallel_layouts import Layout

TOKENS, EXPERTS, RANKS = 256, 16, 4
ON = {"balanced_moe_experts": True, "balanced_moe_hot_expert_num": 4, "trans_hot_expert_group_num": 2}
Numbers = dict[str, torch.Tensor]


def counted(rows: list[int], forward: Any, experts: Any, tokens: torch.Tensor, *args: Any) -> Any:
    rows.append(tokens.shape[0])
    return forward(experts, tokens, *args)


def found(is_on: bool, number: int) -> tuple[list[int], Numbers]:
    from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
    from megatron.core.transformer.moe import experts
    from megatron.core.transformer.spec_utils import build_module

    flags = {"num_experts": EXPERTS, "moe_grouped_gemm": True, "expert_model_parallel_size": RANKS}
    flags |= {"moe_token_dispatcher_type": "alltoall", "optimization_level": 2, "balanced_moe_experts": False}
    adaptor.repatch(flags | (ON if is_on else {}))
    layout = Layout(model="moe", world=RANKS, ep=RANKS, dispatcher="alltoall", grouped=True)
    parallel_job.initialize(layout, number)
    rank = int(os.environ["RANK"])
    config = parallel_job.transformer_config(layout, num_moe_experts=EXPERTS)
    spec = get_gpt_layer_local_spec(num_experts=EXPERTS, moe_grouped_gemm=True)
    layer = build_module(spec.submodules.mlp, config=config).npu()
    torch.manual_seed(rank)
    with torch.no_grad():
        for parameter in layer.experts.parameters():
            parameter.copy_(torch.randn(parameter.shape) / 8)
        torch.manual_seed(9)
        layer.router.weight.copy_(torch.randn(EXPERTS, parallel_job.HIDDEN) / 16)
        # The first number of a token is 1: experts are the busier the lower their number.
        layer.router.weight[:, 0] = torch.linspace(1.5, -1.5, EXPERTS)
    torch.manual_seed(20 + rank)
    tokens = torch.randn(TOKENS, 1, parallel_job.HIDDEN)
    tokens[..., 0] = 1
    tokens = tokens.npu().requires_grad_()
    rows: list[int] = []
    forward = experts.GroupedMLP.forward
    experts.GroupedMLP.forward = functools.partialmethod(functools.partial(counted, rows, forward))
    try:
        output, _ = layer(tokens)
    finally:
        experts.GroupedMLP.forward = forward
    torch.manual_seed(40 + rank)
    output.backward(torch.randn(output.shape).npu())
    assert tokens.grad is not None
    numbers = {"output": output.detach().cpu(), "tokens": tokens.grad.cpu()}
    numbers |= {name: value.grad.cpu() for name, value in layer.named_parameters() if value.grad is not None}
    every: list[Any] = [None] * RANKS
    torch.distributed.all_gather_object(every, sum(rows))
    parallel_job.finalize()
    return every, numbers


def main() -> None:
    (before, plain), (after, copied) = (found(is_on, number) for number, is_on in enumerate((False, True)))
    assert plain.keys() == copied.keys()
    away = {name: float((copied[name] - plain[name]).abs().max() / plain[name].abs().max()) for name in plain}
    print(
        json.dumps({"rank": int(os.environ["RANK"]), "before": before, "after": after, "away": away}),
        flush=True,
    )


if __name__ == "__main__":
    main()
