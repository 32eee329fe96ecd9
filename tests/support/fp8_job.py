# SPDX-License-Identifier: Apache-2.0
"""One rank trains a small GPT of the stand-in's layers: in bf16, and from the same start in fp8 by each recipe named.

Prints a JSON line: the losses of all steps of each.
"""

from __future__ import annotations

import json
import sys

import torch

import mindspeed.megatron_adaptor  # isort: skip  # noqa: F401

VOCAB, SEQUENCE, HIDDEN, STEPS = 64, 64, 128, 30


def build(form: str | None, recipe: str | None, experts: bool) -> torch.nn.Module:
    from megatron.core.models.gpt import gpt_layer_specs as specs
    from megatron.core.models.gpt.gpt_model import GPTModel
    from megatron.core.tensor_parallel import model_parallel_cuda_manual_seed
    from megatron.core.transformer.transformer_config import TransformerConfig

    model_parallel_cuda_manual_seed(1)
    more = {"fp8": form, "fp8_recipe": recipe} if form else {}
    if experts:
        more |= {
            "num_moe_experts": 4,
            "moe_router_topk": 2,
            "moe_grouped_gemm": True,
            "add_bias_linear": False,
        }
    config = TransformerConfig(
        num_layers=2, hidden_size=HIDDEN, num_attention_heads=4, hidden_dropout=0.0, attention_dropout=0.0, bf16=True,
        params_dtype=torch.bfloat16, pipeline_dtype=torch.bfloat16, **more,
    )  # fmt: skip
    spec = specs.get_gpt_layer_with_transformer_engine_spec(4 if experts else None, experts)
    return GPTModel(config, spec, VOCAB, SEQUENCE, position_embedding_type="rope").npu().bfloat16()


def batch(step: int) -> torch.Tensor:
    """Each number follows from the one before, or, one in four, from nothing: there is something to learn, and losses stay
    well above 0."""
    generator = torch.Generator().manual_seed(step)
    rule = torch.randint(0, VOCAB, (4, 1), generator=generator) + 7 * torch.arange(SEQUENCE + 1)
    noise = torch.randint(0, VOCAB, rule.shape, generator=generator)
    return torch.where(torch.rand(rule.shape, generator=generator) < 0.25, noise, rule % VOCAB).npu()


def train(form: str | None, recipe: str | None, experts: bool) -> list[float]:
    model = build(form, recipe, experts)
    masters = [p.detach().float().clone().requires_grad_() for p in model.parameters()]
    optimizer = torch.optim.AdamW(masters, lr=2e-3)
    places = torch.arange(SEQUENCE).expand(4, -1).npu()
    mask = torch.ones(1, 1, SEQUENCE, SEQUENCE, dtype=torch.bool).triu(1).npu()
    losses = []
    for step in range(STEPS):
        tokens = batch(step)
        model.zero_grad()
        loss = model(tokens[:, :-1].contiguous(), places, mask, labels=tokens[:, 1:].contiguous()).mean()
        loss.backward()
        with torch.no_grad():
            for master, parameter in zip(masters, model.parameters(), strict=True):
                master.grad = parameter.grad.float()
            optimizer.step()
            for master, parameter in zip(masters, model.parameters(), strict=True):
                parameter.copy_(master)
        losses.append(loss.item())
    return losses


def main() -> None:
    from megatron.core import parallel_state

    torch.npu.set_device(0)
    torch.distributed.init_process_group("hccl", store=torch.distributed.HashStore(), rank=0, world_size=1)
    parallel_state.initialize_model_parallel(create_gloo_process_groups=False)
    experts = sys.argv[1] == "experts"
    results = {"bf16": train(None, None, experts)}
    for name in sys.argv[2:]:
        results[name] = train(*name.split("/"), experts)
    print(json.dumps(results))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
