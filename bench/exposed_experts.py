# SPDX-License-Identifier: Apache-2.0
"""Communication of a layer of experts that nothing covers, over links of a chosen speed, by the trace of each rank.

Usage: exposed_experts.py [--ranks N] [--link GB/s,us] [--hidden N] [--tokens N] [--only ROW]

The layer has four experts on each of the ranks (processes of this machine with a thread each), two for a token, forward and
backward. Rows:

- whole: --moe-model-type deepspeed_moe; experts: with --use-pipe-experts; parts: and --pipe-experts-multi-data 2.
- batches: two layers of Megatron's experts with a product before each, four micro-batches; beside: with --moe-fb-overlap.

"less" is against the first row of a group.

Columns as of exposed_communication.py.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any

from exposed_communication import STEPS, WARMUP, measure

KIND = {"moe_model_type": "deepspeed_moe"}
PIPE = KIND | {"use_pipe_experts": True}
FLAGS: dict[str, dict[str, Any]] = {
    "whole": KIND,
    "experts": PIPE,
    "parts": PIPE | {"pipe_experts_multi_data": 2},
}
GROUPED = {"moe_grouped_gemm": True, "moe_token_dispatcher_type": "alltoall"}
BATCHES: dict[str, dict[str, Any]] = {"batches": GROUPED, "beside": GROUPED | {"moe_fb_overlap": True}}
EACH, COUNT = 4, 4


def rank_main(options: argparse.Namespace) -> None:
    import torch
    from mindspeed import megatron_adaptor

    world = int(os.environ["WORLD_SIZE"])
    parallel = {"expert_model_parallel_size": world, "num_experts": EACH * world, "optimization_level": 2}
    megatron_adaptor.repatch(parallel | (FLAGS | BATCHES)[options.row])
    from megatron.core import parallel_state, tensor_parallel
    from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
    from megatron.core.transformer import TransformerConfig
    from megatron.core.transformer.spec_utils import build_module

    torch.npu.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("hccl")
    parallel_state.initialize_model_parallel(
        expert_model_parallel_size=world, create_gloo_process_groups=False
    )
    tensor_parallel.model_parallel_cuda_manual_seed(1)
    flags = BATCHES.get(options.row, {})
    config = TransformerConfig(
        num_layers=1, hidden_size=options.hidden, num_attention_heads=8, num_moe_experts=EACH * world,
        expert_model_parallel_size=world, moe_router_topk=2, add_bias_linear=False, gradient_accumulation_fusion=False,
        moe_token_dispatcher_type=flags.get("moe_token_dispatcher_type", "allgather"),
        moe_grouped_gemm=bool(flags), bf16=bool(flags), params_dtype=torch.bfloat16 if flags else torch.float32,
    )  # fmt: skip
    spec = get_gpt_layer_local_spec(num_experts=EACH * world, moe_grouped_gemm=bool(flags)).submodules.mlp
    if flags:
        step = of_batches([build_module(spec, config=config).npu() for _ in range(2)], config, options)
    else:
        step = of_layer(build_module(spec, config=config).npu(), options)
    for _ in range(WARMUP + STEPS):
        torch.distributed.barrier()
        torch.npu.synchronize()
        step()
        torch.npu.synchronize()
    torch.distributed.destroy_process_group()


def of_layer(layer: Any, options: argparse.Namespace) -> Callable[[], None]:
    import torch

    x = torch.randn(options.tokens, 1, options.hidden, device="npu", requires_grad=True)
    return lambda: layer(x)[0].square().mean().backward()


def of_batches(layers: list[Any], config: Any, options: argparse.Namespace) -> Callable[[], None]:
    """By Megatron's schedule."""
    import torch
    from megatron.core.enums import ModelType
    from megatron.core.pipeline_parallel import schedules

    class Stack(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config, self.model_type = config, ModelType.encoder_or_decoder
            self.layers = torch.nn.ModuleList(layers)
            wide = [torch.nn.Linear(options.hidden, options.hidden) for _ in layers]
            self.products = torch.nn.ModuleList(wide).to(device="npu", dtype=torch.bfloat16)

        def set_input_tensor(self, _: Any) -> None:
            pass

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for product, layer in zip(self.products, self.layers, strict=True):
                x = x + layer(product(x))[0]
            return x

    model = Stack()
    x = torch.randn(options.tokens, 1, options.hidden, device="npu", dtype=torch.bfloat16)

    def forward_step(_: Any, model: Any) -> Any:
        return model(x), lambda output: (output.float().square().mean(), {})

    def step() -> None:
        schedules.get_forward_backward_func()(
            forward_step_func=forward_step, data_iterator=None, model=model, num_microbatches=COUNT,
            seq_length=options.tokens, micro_batch_size=1,
        )  # fmt: skip

    return step


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--link", default="0.5,50", help="MINDSPEED_HCCL_LINK; default %(default)s")
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=1024, help="of each rank")
    parser.add_argument("--only", choices=FLAGS | BATCHES, help="the group of rows with this one")
    parser.add_argument("--row", choices=FLAGS | BATCHES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        rank_main(options)
        return
    print(f"{options.ranks} ranks, links of {options.link} (GB/s, us)")
    print(f"{'':<8}{'step':>8}{'communication':>15}{'exposed':>9}{'less':>7}")
    for rows in (FLAGS, BATCHES):
        if options.only not in (None, *rows):
            continue
        plain = 0.0
        for row in rows:
            step, talking, exposed = measure(options, row)
            plain = plain or exposed
            print(f"{row:<8}{step:8.1f}{talking:15.1f}{exposed:9.1f}{1 - exposed / plain:7.0%}", flush=True)


if __name__ == "__main__":
    main()
