# SPDX-License-Identifier: Apache-2.0
"""A rank of two that share the heads of a latent attention: `torchrun ... latent_job.py [FOLDER]`, with another Megatron Core.

Prints a line of JSON for each case: the greatest difference of the gradients of the input and of the projection to latents
from those that one rank works out with all heads, relative to their greatest value.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import torch
from mindspeed import megatron_adaptor
from mindspeed.adaptor import versions
from packaging.version import Version
from torch import Tensor

sys.path[:0] = sys.argv[1:]

WORLD, RANK = int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"])
SEQUENCE, BATCH, HIDDEN = 8, 2, 32
OPTIONS = {"optimization_level": 1, "multi_latent_attention": True}
megatron_adaptor.repatch(OPTIONS)
import megatron_gpt  # noqa: E402
import parallel_weights  # noqa: E402
import tensor_ranks  # noqa: E402


def config_of(ranks: int, in_parts: bool) -> Any:
    from megatron.core.transformer.transformer_config import MLATransformerConfig

    return MLATransformerConfig(
        num_layers=1, hidden_size=HIDDEN, num_attention_heads=4, q_lora_rank=16, kv_lora_rank=8, qk_head_dim=8,
        qk_pos_emb_head_dim=4, v_head_dim=8, hidden_dropout=0.0, attention_dropout=0.0, rope_type="rope",
        add_bias_linear=False, tensor_model_parallel_size=ranks, sequence_parallel=in_parts,
    )  # fmt: skip


def attention(ranks: int, in_parts: bool, whole: bool) -> torch.nn.Module:
    from megatron.core.models.gpt import gpt_layer_specs

    made = gpt_layer_specs.get_gpt_layer_local_spec(multi_latent_attention=True).submodules.self_attention
    if whole:
        # A projection that each rank has all of.
        from megatron.core.extensions.transformer_engine import TELinear

        made.submodules.linear_q_down_proj = made.submodules.linear_kv_down_proj = TELinear
    module = made.module(config_of(ranks, in_parts), made.submodules, layer_number=1, **made.params)
    module = module.to(megatron_gpt.DEVICE)
    parallel_weights.set_weights(module)
    return module


def values(seed: int) -> Tensor:
    return torch.randn(SEQUENCE, BATCH, HIDDEN, generator=torch.Generator().manual_seed(seed))


def gradients(ranks: int, in_parts: bool = False, whole: bool = False) -> list[Tensor]:
    """Of all of the input, and of all of the projection to latents and positions."""
    module = attention(ranks, in_parts, whole)
    own = slice(RANK * SEQUENCE // ranks, (RANK + 1) * SEQUENCE // ranks) if in_parts else slice(None)
    x = values(1)[own].to(megatron_gpt.DEVICE).requires_grad_()
    mask = torch.ones(1, 1, SEQUENCE, SEQUENCE, dtype=torch.bool, device=megatron_gpt.DEVICE).triu(1)
    y, _ = module(x, mask)
    y.backward(values(2)[own].to(y))
    projection = module.linear_kv_down_proj.weight.grad
    return [
        tensor_ranks.gathered(x.grad, ranks if in_parts else 1),
        tensor_ranks.gathered(projection, 1 if whole else ranks),
    ]


def main() -> None:
    tensor_ranks.start()
    tensor_ranks.share(tensor_model_parallel_size=1)
    wanted = gradients(1)
    tensor_ranks.share(tensor_model_parallel_size=WORLD)
    cases = {"split": {}, "split, in parts": {"in_parts": True}}
    if Version(versions.installed_version("megatron-core")) >= Version(
        "0.14.0"
    ):  # before, it works with a split sequence alone
        cases["whole"] = {"whole": True}
    for name, options in cases.items():
        for is_on in (True, False):
            megatron_adaptor.repatch(OPTIONS | {"latent_position_gradients": is_on})
            found = gradients(WORLD, **options)
            worst = max(
                float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, wanted, strict=True)
            )
            if RANK == 0:
                print(json.dumps({"case": name, "on": is_on, "difference": worst}), flush=True)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
