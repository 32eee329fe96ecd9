# SPDX-License-Identifier: Apache-2.0
"""`torchrun ... packed_job.py`: Megatron's attention over packed sequences that four ranks share in each way, against the whole in float64.

Rank 0 prints a line of JSON for each way: the largest difference on any rank, of the output and the gradients.
"""

from __future__ import annotations

import json
import os
from typing import Any

import mindspeed.megatron_adaptor as adaptor
import torch
from ring_job import GROUPS, HEADS, WIDTH, mask_of, part, reference

LENGTHS = [16, 48, 32]
WAYS: list[dict[str, Any]] = [
    {"context_parallel_algo": "megatron_cp_algo"},
    {"context_parallel_algo": "megatron_cp_algo", "cp_window_size": 2},
    {"context_parallel_algo": "ulysses_cp_algo"},
    {"context_parallel_algo": "hybrid_cp_algo", "ulysses_degree_in_cp": 2},
]
OFF = {"cp_window_size": 1, "ulysses_degree_in_cp": None}


def attention() -> torch.nn.Module:
    from megatron.core.transformer.dot_product_attention import DotProductAttention
    from megatron.core.transformer.enums import AttnMaskType
    from megatron.core.transformer.transformer_config import TransformerConfig

    config = TransformerConfig(
        num_layers=1, hidden_size=HEADS * WIDTH, num_attention_heads=HEADS, num_query_groups=GROUPS, context_parallel_size=4,
        attention_dropout=0.0,
    )  # fmt: skip
    return DotProductAttention(config, 1, AttnMaskType.causal, "self")


def difference(way: dict[str, Any]) -> float:
    from megatron.core.packed_seq_params import PackedSeqParams

    adaptor.repatch({"use_flash_attn": True} | OFF | way)
    generator, rank, length = torch.Generator().manual_seed(3), torch.distributed.get_rank(), sum(LENGTHS)
    whole = [
        torch.randn(length, 1, heads, WIDTH, generator=generator, dtype=torch.float64).requires_grad_()
        for heads in (HEADS, GROUPS, GROUPS)
    ]
    gradient = torch.randn(length, 1, HEADS * WIDTH, generator=generator, dtype=torch.float64)
    wanted = reference(*whole, mask_of({"kind": "causal", "lengths": LENGTHS}, length, generator), False)
    wanted.backward(gradient)

    def mine_of(t: torch.Tensor) -> torch.Tensor:
        return part(t, rank, 4, LENGTHS).squeeze(1)

    own = [mine_of(t).float().npu().requires_grad_() for t in whole]
    ends = torch.tensor([0, *LENGTHS]).cumsum(0).int().npu()
    told = PackedSeqParams(qkv_format="thd", cu_seqlens_q=ends, cu_seqlens_kv=ends)
    found = attention()(*own, None, packed_seq_params=told)
    found.backward(mine_of(gradient).float().npu())
    pairs = [(found, wanted), *((mine.grad, all_of.grad) for mine, all_of in zip(own, whole, strict=True))]
    worst = torch.stack([(mine.detach().cpu().double() - mine_of(of)).abs().max() for mine, of in pairs])
    worst = worst.max().nan_to_num(1e9).float().npu()
    torch.distributed.all_reduce(worst, torch.distributed.ReduceOp.MAX)
    return worst.item()


def main() -> None:
    from megatron.core import parallel_state

    torch.npu.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("hccl")
    parallel_state.initialize_model_parallel(context_parallel_size=4)
    for way in WAYS:
        found = difference(way)
        if torch.distributed.get_rank() == 0:
            print(json.dumps(way | {"difference": found}), flush=True)
    torch.npu.synchronize()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
