# SPDX-License-Identifier: Apache-2.0
"""One rank with two GPTs of equal weights, in Megatron's own layers and in those of the stand-in for Transformer Engine.

Prints, for each direction in which a checkpoint goes, the greatest difference of losses and of gradients.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch

import mindspeed.megatron_adaptor  # isort: skip

VOCAB, SEQUENCE = 64, 16


def build(implementation: str) -> torch.nn.Module:
    from megatron.core.models.gpt import gpt_layer_specs as specs
    from megatron.core.models.gpt.gpt_model import GPTModel
    from megatron.core.transformer.transformer_config import TransformerConfig

    config = TransformerConfig(
        num_layers=2, hidden_size=32, num_attention_heads=4, num_query_groups=2, hidden_dropout=0.0,
        attention_dropout=0.0, apply_rope_fusion=implementation == "transformer_engine",
    )  # fmt: skip
    make = {
        "local": specs.get_gpt_layer_local_spec,
        "transformer_engine": specs.get_gpt_layer_with_transformer_engine_spec,
    }
    return GPTModel(config, make[implementation](), VOCAB, SEQUENCE, position_embedding_type="rope").npu()


def run(model: torch.nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """(losses of all tokens, the gradient of the last layer's output)"""
    generator = torch.Generator().manual_seed(5)
    tokens = torch.randint(0, VOCAB, (2, SEQUENCE + 1), generator=generator).npu()
    places = torch.arange(SEQUENCE).expand(2, -1).npu()
    mask = torch.ones(1, 1, SEQUENCE, SEQUENCE, dtype=torch.bool).triu(1).npu()
    loss = model(tokens[:, :-1].contiguous(), places, mask, labels=tokens[:, 1:].contiguous())
    model.zero_grad()
    loss.mean().backward()
    return loss.detach(), model.embedding.word_embeddings.weight.grad.clone()


def exchange(folder: str, source: str, target: str) -> dict[str, Any]:
    """Save one, load it into the other, compare."""
    from megatron.core import dist_checkpointing

    saved, loaded = build(source), build(target)
    with torch.no_grad():
        for parameter in saved.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    dist_checkpointing.save(saved.sharded_state_dict(), folder)
    loaded.load_state_dict(dist_checkpointing.load(loaded.sharded_state_dict(), folder))
    before, after = run(saved), run(loaded)
    return {
        "target": type(loaded.decoder.layers[0].self_attention.linear_qkv).__name__,
        "loss": (before[0] - after[0]).abs().max().item(),
        "grad": ((before[1] - after[1]).abs().max() / before[1].abs().max()).item(),
    }


def main() -> None:
    from megatron.core import parallel_state, tensor_parallel

    torch.npu.set_device(0)
    torch.distributed.init_process_group("hccl", store=torch.distributed.HashStore(), rank=0, world_size=1)
    parallel_state.initialize_model_parallel(create_gloo_process_groups=False)
    tensor_parallel.model_parallel_cuda_manual_seed(1)
    results = []
    for number, pair in enumerate((("local", "transformer_engine"), ("transformer_engine", "local"))):
        results.append(exchange(f"{sys.argv[1]}{number}", *pair))
    print(json.dumps(results))
    torch.distributed.destroy_process_group()
    mindspeed.megatron_adaptor.revert()
    left = [name for name in sys.modules if name.partition(".")[0] in ("transformer_engine", "apex")]
    assert not left, left


if __name__ == "__main__":  # newer versions write checkpoints in processes that import this file
    main()
