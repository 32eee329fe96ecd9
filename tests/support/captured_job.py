# SPDX-License-Identifier: Apache-2.0
"""One rank trains a small GPT by Megatron's schedule: plainly, and from the same start with its layers captured in graphs.

    python captured_job.py local|transformer_engine [dropout]

Prints a JSON line: the losses of all steps of each. With `dropout` captured only, over the same data at a learning rate of 0.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import Any

import torch

import mindspeed.megatron_adaptor  # isort: skip  # noqa: F401

VOCAB, SEQUENCE, HIDDEN, BATCH, STEPS = 64, 32, 64, 2, 6


def build(layers: str, captured: bool, dropout: float) -> torch.nn.Module:
    from megatron.core.models.gpt import gpt_layer_specs as specs
    from megatron.core.models.gpt.gpt_model import GPTModel
    from megatron.core.tensor_parallel import random
    from megatron.core.transformer.transformer_config import TransformerConfig

    # As with --te-rng-tracker, which Megatron chooses itself from 0.15 on, and without.
    random.model_parallel_cuda_manual_seed(1, te_rng_tracker=layers != "local", use_cudagraphable_rng=True)
    fields = TransformerConfig.__dataclass_fields__
    how = {"cuda_graph_impl": "local"} if "cuda_graph_impl" in fields else {"enable_cuda_graph": True}
    config = TransformerConfig(
        num_layers=2, hidden_size=HIDDEN, num_attention_heads=4, hidden_dropout=dropout, attention_dropout=0.0,
        pipeline_dtype=torch.float32, **how if captured else {},
    )  # fmt: skip
    spec = (
        specs.get_gpt_layer_local_spec()
        if layers == "local"
        else specs.get_gpt_layer_with_transformer_engine_spec()
    )
    return GPTModel(config, spec, VOCAB, SEQUENCE, position_embedding_type="rope").npu()


def forward_step(tokens: torch.Tensor, _: Any, model: torch.nn.Module) -> tuple[torch.Tensor, Any]:
    places = torch.arange(SEQUENCE).expand(BATCH, -1).npu()
    mask = torch.ones(1, 1, SEQUENCE, SEQUENCE, dtype=torch.bool).triu(1).npu()
    out = model(tokens[:, :-1].contiguous(), places, mask, labels=tokens[:, 1:].contiguous())
    return out, lambda losses: (losses.mean(), {"loss": losses.detach().mean()})


def train(layers: str, captured: bool, dropout: float) -> list[float]:
    from megatron.core.pipeline_parallel import get_forward_backward_func

    model = build(layers, captured, dropout)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0 if dropout else 0.1)
    losses = []
    for step in range(STEPS):
        generator = torch.Generator().manual_seed(0 if dropout else step)
        tokens = torch.randint(0, VOCAB, (BATCH, SEQUENCE + 1), generator=generator).npu()
        optimizer.zero_grad()
        results = get_forward_backward_func()(
            forward_step_func=partial(forward_step, tokens), data_iterator=None, model=[model], num_microbatches=2,
            seq_length=SEQUENCE, micro_batch_size=BATCH, forward_only=False,
        )  # fmt: skip
        optimizer.step()
        losses.append(sum(r["loss"].item() for r in results) / len(results))
    if captured:
        runners = model.decoder.layers[0].cudagraph_manager.cudagraph_runners
        assert all(r.fwd_graph is not None and r.bwd_graph is not None for r in runners), (
            "nothing was captured"
        )
    return losses


def main() -> None:
    from megatron.core import parallel_state

    layers, dropout = sys.argv[1], 0.2 if sys.argv[2:] else 0.0
    torch.npu.set_device(0)
    torch.distributed.init_process_group("hccl", store=torch.distributed.HashStore(), rank=0, world_size=1)
    parallel_state.initialize_model_parallel(create_gloo_process_groups=False)
    results = {} if dropout else {"plain": train(layers, False, dropout)}
    results["captured"] = train(layers, True, dropout)
    print(json.dumps(results))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
