# SPDX-License-Identifier: Apache-2.0
"""Communication of a layer of experts that nothing covers, over links of a chosen speed, by the trace of each rank.

Usage: exposed_experts.py [--ranks N] [--link GB/s,us] [--hidden N] [--tokens N]

The layer has four experts on each of the ranks (processes of this machine with a thread each), two for a token, forward and
backward. Rows:

- whole: --moe-model-type deepspeed_moe; experts: with --use-pipe-experts; parts: and --pipe-experts-multi-data 2.

Columns as of exposed_communication.py.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

from exposed_communication import STEPS, WARMUP, measure

KIND = {"moe_model_type": "deepspeed_moe"}
PIPE = KIND | {"use_pipe_experts": True}
FLAGS: dict[str, dict[str, Any]] = {
    "whole": KIND,
    "experts": PIPE,
    "parts": PIPE | {"pipe_experts_multi_data": 2},
}
EACH = 4


def rank_main(options: argparse.Namespace) -> None:
    import torch
    from mindspeed import megatron_adaptor

    world = int(os.environ["WORLD_SIZE"])
    parallel = {"expert_model_parallel_size": world, "num_experts": EACH * world, "optimization_level": 2}
    megatron_adaptor.repatch(parallel | FLAGS[options.row])
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
    config = TransformerConfig(
        num_layers=1, hidden_size=options.hidden, num_attention_heads=8, num_moe_experts=EACH * world,
        expert_model_parallel_size=world, moe_router_topk=2, add_bias_linear=False, gradient_accumulation_fusion=False,
    )  # fmt: skip
    spec = get_gpt_layer_local_spec(num_experts=EACH * world, moe_grouped_gemm=False)
    layer = build_module(spec.submodules.mlp, config=config).npu()
    x = torch.randn(options.tokens, 1, options.hidden, device="npu", requires_grad=True)
    for _ in range(WARMUP + STEPS):
        torch.distributed.barrier()
        torch.npu.synchronize()
        layer(x)[0].square().mean().backward()
        torch.npu.synchronize()
    torch.distributed.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--link", default="0.5,50", help="MINDSPEED_HCCL_LINK; default %(default)s")
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=1024, help="of each rank")
    parser.add_argument("--row", choices=FLAGS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        rank_main(options)
        return
    print(f"{options.ranks} ranks, links of {options.link} (GB/s, us)")
    print(f"{'':<8}{'step':>8}{'communication':>15}{'exposed':>9}{'less':>7}")
    plain = 0.0
    for row in FLAGS:
        step, talking, exposed = measure(options, row)
        plain = plain or exposed
        print(f"{row:<8}{step:8.1f}{talking:15.1f}{exposed:9.1f}{1 - exposed / plain:7.0%}", flush=True)


if __name__ == "__main__":
    main()
