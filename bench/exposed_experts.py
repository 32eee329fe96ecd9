# SPDX-License-Identifier: Apache-2.0
"""Communication of a layer of experts that nothing covers, over links of a chosen speed, by the trace of each rank.

Usage: exposed_experts.py [--ranks N] [--link GB/s,us] [--hidden N] [--tokens N] [--only ROW]

The layer has four experts on each of the ranks (processes of this machine with a thread each), two for a token, forward and
backward. Rows:

- whole: --moe-model-type deepspeed_moe; experts: with --use-pipe-experts; parts: and --pipe-experts-multi-data 2.
- batches: two layers of Megatron's experts with a product before each, four micro-batches; beside: with --moe-fb-overlap.
- stages: the same layers in a pipeline of two ranks with two chunks of one layer each, interleaved, vee: by --schedules-method dualpipev;
  the other ranks share the experts. stages-2, vee-2: with --moe-fb-overlap. What a stage waits for another is not counted.

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
STAGES = GROUPED | {"pipeline_model_parallel_size": 2, "num_virtual_stages_per_pipeline_rank": 2}
VEE = GROUPED | {"pipeline_model_parallel_size": 2, "schedules_method": "dualpipev"}
PIPELINES: tuple[dict[str, dict[str, Any]], ...] = (
    {"stages": STAGES, "stages-2": STAGES | {"moe_fb_overlap": True}},
    {"vee": VEE, "vee-2": VEE | {"moe_fb_overlap": True}},
)
GROUPS = (FLAGS, BATCHES, *PIPELINES)
ROWS = {name: flags for group in GROUPS for name, flags in group.items()}
EACH, COUNT = 4, 4


def rank_main(options: argparse.Namespace) -> None:
    import torch
    from mindspeed import megatron_adaptor

    given = ROWS[options.row]
    stages = given.get("pipeline_model_parallel_size", 1)
    ranks = int(os.environ["WORLD_SIZE"]) // stages
    parallel = {"expert_model_parallel_size": ranks, "num_experts": EACH * ranks, "optimization_level": 2}
    megatron_adaptor.repatch(parallel | given)
    from megatron.core import parallel_state, tensor_parallel
    from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
    from megatron.core.transformer import TransformerConfig
    from megatron.core.transformer.spec_utils import build_module

    torch.npu.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("hccl")
    pipeline = {
        "pipeline_model_parallel_size": stages,
        "virtual_pipeline_model_parallel_size": 2 if stages > 1 else None,
    }
    parallel_state.initialize_model_parallel(
        expert_model_parallel_size=ranks, create_gloo_process_groups=False, **pipeline
    )
    tensor_parallel.model_parallel_cuda_manual_seed(1)
    flags = {} if options.row in FLAGS else given
    config = TransformerConfig(
        num_layers=2 * stages, hidden_size=options.hidden, num_attention_heads=8, num_moe_experts=EACH * ranks,
        expert_model_parallel_size=ranks, moe_router_topk=2, add_bias_linear=False, gradient_accumulation_fusion=False,
        moe_token_dispatcher_type=flags.get("moe_token_dispatcher_type", "allgather"),
        moe_grouped_gemm=bool(flags), bf16=bool(flags), params_dtype=torch.bfloat16 if flags else torch.float32,
        pipeline_dtype=torch.bfloat16, overlap_p2p_comm=stages > 1, batch_p2p_comm=False, **pipeline,
    )  # fmt: skip
    spec = get_gpt_layer_local_spec(num_experts=EACH * ranks, moe_grouped_gemm=bool(flags)).submodules.mlp
    if flags:
        layers = [build_module(spec, config=config).npu() for _ in range(2)]
        step = of_batches(layers, config, options, 2 if stages > 1 else 1)
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


def of_batches(
    layers: list[Any], config: Any, options: argparse.Namespace, chunks: int
) -> Callable[[], None]:
    """By Megatron's schedule."""
    import torch
    from megatron.core.enums import ModelType
    from megatron.core.pipeline_parallel import schedules

    class Stack(torch.nn.Module):
        def __init__(self, layers: list[Any]) -> None:
            super().__init__()
            self.config, self.model_type = config, ModelType.encoder_or_decoder
            self.layers = torch.nn.ModuleList(layers)
            wide = [torch.nn.Linear(options.hidden, options.hidden) for _ in layers]
            self.products = torch.nn.ModuleList(wide).to(device="npu", dtype=torch.bfloat16)

        def set_input_tensor(self, given: list[Any]) -> None:
            (self.given,) = given

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x if self.given is None else self.given
            for product, layer in zip(self.products, self.layers, strict=True):
                x = x + layer(product(x))[0]
            return x

    each = len(layers) // chunks
    models = [Stack(layers[begin : begin + each]) for begin in range(0, len(layers), each)]
    x = torch.randn(options.tokens, 1, options.hidden, device="npu", dtype=torch.bfloat16)
    count = COUNT * (2 if chunks > 1 else 1)

    def forward_step(_: Any, model: Any) -> Any:
        return model(x), lambda output: (output.float().square().mean(), {})

    def step() -> None:
        schedules.get_forward_backward_func()(
            forward_step_func=forward_step, data_iterator=[None] * chunks, model=models, num_microbatches=count,
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
    parser.add_argument("--only", choices=ROWS, help="the group of rows with this one")
    parser.add_argument("--row", choices=ROWS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        rank_main(options)
        return
    print(f"{options.ranks} ranks, links of {options.link} (GB/s, us)")
    print(f"{'':<8}{'step':>8}{'communication':>15}{'exposed':>9}{'less':>7}")
    for rows in GROUPS:
        if options.only not in (None, *rows):
            continue
        plain = 0.0
        for row in rows:
            step, talking, exposed = measure(options, row)
            plain = plain or exposed
            print(f"{row:<8}{step:8.1f}{talking:15.1f}{exposed:9.1f}{1 - exposed / plain:7.0%}", flush=True)


if __name__ == "__main__":
    main()
