# SPDX-License-Identifier: Apache-2.0
"""The training job of the engine's tests: `torchrun ... engine_job.py LAYOUT...`, small Qwen3 models of transformers with
random weights. Prints, from rank 0, a line of JSON for each layout: losses over the whole batch, norms of the gradient."""

from __future__ import annotations

import contextlib
import gc
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
import transformers
from mindspeed.fsdp.mindspeed_parallel_engine import MindSpeedParallelEngine
from mindspeed.fsdp.parallel_engine_config import (
    EPPlanConfig,
    FSDPPlanConfig,
    ParallelEngineConfig,
    QuantizeConfig,
    TPPlanConfig,
)

BATCH, SEQUENCE, VOCAB, STEPS = 8, 32, 96, 6
SHAPE: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 16,
    "num_key_value_heads": 2, "vocab_size": VOCAB, "max_position_embeddings": 64,
}  # fmt: skip
MOE: dict[str, Any] = {
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
    "norm_topk_prob": True,
}
# Shards of two ranks in which numbers of 8 bits have whole blocks.
WIDE: dict[str, Any] = SHAPE | {
    "hidden_size": 128,
    "intermediate_size": 256,
    "head_dim": 32,
    "num_key_value_heads": 4,
}
TP = TPPlanConfig(
    colwise_parallel=["*.q_proj", "*.k_proj", "*.v_proj", "*.mlp.gate_proj", "*.mlp.up_proj"],
    rowwise_parallel=["*.o_proj", "*.mlp.down_proj"],
)
ATTENTION = TPPlanConfig(
    colwise_parallel=["*.q_proj", "*.k_proj", "*.v_proj"],
    rowwise_parallel=["*.o_proj"],
    sequence_parallel=["*layernorm"],
)


def fsdp(**more: Any) -> FSDPPlanConfig:
    return FSDPPlanConfig(apply_modules={"model.layers.{*}": {"reshard_after_forward": True}}, **more)


def experts(dispatcher: str) -> EPPlanConfig:
    return EPPlanConfig(apply_modules=["*.mlp.experts"], dispatcher=dispatcher, apply_efsdp_modules=["*.mlp"])


def in_8_bits(recipe: str, gathered: str | None, **more: Any) -> Callable[[], ParallelEngineConfig]:
    """gathered: the mode in which weights are gathered in 8 bits; None: they are as they are."""
    return lambda: ParallelEngineConfig(
        fully_shard_parallel_size=2,
        fsdp_plan=fsdp(param_dtype="bf16", reduce_dtype="fp32"),
        quantization_plan=QuantizeConfig(
            recipe_name=recipe,
            apply_modules=["model.layers.{*}"],
            ignored_modules=["*.o_proj"],
            quant_converters=["quantize.linear.mx"],
            enable_fsdp_low_precision_all_gather=gathered is not None,
            fsdp_low_precision_all_gather_mode=gathered or "all",  # type: ignore[arg-type]
        ),
        **more,
    )


def experts_in_8_bits(gathered: str | None = "on-demand", **more: Any) -> Callable[[], ParallelEngineConfig]:
    plan = QuantizeConfig(
        recipe_name="mxfp8",
        apply_modules=["model.layers.{*}"],
        quant_converters=["quantize.moe.mx"],
        enable_fsdp_low_precision_all_gather=gathered is not None,
        fsdp_low_precision_all_gather_mode=gathered or "all",  # type: ignore[arg-type]
    )
    return lambda: ParallelEngineConfig(fsdp_plan=fsdp(), quantization_plan=plan, **more)


Layout = tuple[str, Callable[[], ParallelEngineConfig]]
LAYOUTS: dict[str, Layout] = {
    "dense": ("dense", ParallelEngineConfig),
    "moe": ("moe", ParallelEngineConfig),
    "dense-fsdp4": (
        "dense",
        lambda: ParallelEngineConfig(
            fully_shard_parallel_size=4, fsdp_plan=fsdp(num_to_forward_prefetch=1, num_to_backward_prefetch=1)
        ),
    ),
    "dense-recompute": (
        "dense",
        lambda: ParallelEngineConfig(
            fully_shard_parallel_size=4, fsdp_plan=fsdp(), recompute=True, recompute_plan=["model.layers.{*}"]
        ),
    ),
    "dense-dp2-fsdp2": (
        "dense",
        lambda: ParallelEngineConfig(fully_shard_parallel_size=2, fsdp_plan=fsdp()),
    ),
    "dense-tp2-fsdp2": (
        "dense",
        lambda: ParallelEngineConfig(
            fully_shard_parallel_size=2, tensor_parallel_size=2, fsdp_plan=fsdp(), tp_plan=TP
        ),
    ),
    "dense-tp2-ulysses2": (
        "dense",
        lambda: ParallelEngineConfig(
            tensor_parallel_size=2, ulysses_parallel_size=2, fsdp_plan=fsdp(), tp_plan=ATTENTION
        ),
    ),
    "dense-ulysses4": ("dense", lambda: ParallelEngineConfig(ulysses_parallel_size=4, fsdp_plan=fsdp())),
    "dense-cp2-fsdp2": (
        "dense",
        lambda: ParallelEngineConfig(context_parallel_size=2, fully_shard_parallel_size=2, fsdp_plan=fsdp()),
    ),
    "dense-cp2-ulysses2": (
        "dense",
        lambda: ParallelEngineConfig(context_parallel_size=2, ulysses_parallel_size=2, fsdp_plan=fsdp()),
    ),
    "wide": (
        "wide",
        lambda: ParallelEngineConfig(
            fully_shard_parallel_size=2, fsdp_plan=fsdp(param_dtype="bf16", reduce_dtype="fp32")
        ),
    ),
    **{
        f"wide {recipe} {gathered or 'in bf16'}": ("wide", in_8_bits(recipe, gathered))
        for recipe in ("mxfp8", "mxfp8-32x32")
        for gathered in (None, "on-demand", "all")
    },
    "wide recomputed": (
        "wide",
        in_8_bits("mxfp8", "on-demand", recompute=True, recompute_plan=["model.layers.{*}"]),
    ),
    "moe mxfp8": ("moe", experts_in_8_bits()),
    **{
        f"{kind} mxfp8 fsdp2 {gathered or 'in float32'}": (
            kind,
            experts_in_8_bits(gathered, fully_shard_parallel_size=2),
        )
        for kind in ("moe", "wide moe")
        for gathered in (None, "on-demand", "all")
    },
    "moe mxfp8 ep2": (
        "moe",
        experts_in_8_bits(fully_shard_parallel_size=2, expert_parallel_size=2, ep_plan=experts("fused")),
    ),
    "moe-fsdp4": ("moe", lambda: ParallelEngineConfig(fully_shard_parallel_size=4, fsdp_plan=fsdp())),
    "moe-ep2-fsdp2": (
        "moe",
        lambda: ParallelEngineConfig(
            fully_shard_parallel_size=4,
            expert_parallel_size=2,
            expert_fully_shard_parallel_size=2,
            fsdp_plan=fsdp(),
            ep_plan=experts("eager"),
        ),
    ),
    "moe-ep2-fused": (
        "moe",
        lambda: ParallelEngineConfig(
            fully_shard_parallel_size=4,
            expert_parallel_size=2,
            fsdp_plan=fsdp(),
            ep_plan=experts("fused"),
            recompute=True,
            recompute_plan=["model.layers.{*}"],
        ),
    ),
    "moe-ep4-tp2": (
        "moe",
        lambda: ParallelEngineConfig(
            fully_shard_parallel_size=2,
            tensor_parallel_size=2,
            expert_parallel_size=4,
            fsdp_plan=fsdp(),
            tp_plan=ATTENTION,
            ep_plan=experts("fused"),
        ),
    ),
}


def model_of(kind: str) -> transformers.PreTrainedModel:
    torch.manual_seed(11)
    if kind in ("dense", "wide"):
        shape = SHAPE if kind == "dense" else WIDE
        return transformers.AutoModelForCausalLM.from_config(transformers.Qwen3Config(**shape))
    shape = SHAPE | MOE if kind == "moe" else WIDE | MOE | {"moe_intermediate_size": 64}
    return transformers.AutoModelForCausalLM.from_config(transformers.Qwen3MoeConfig(**shape))


def text(step: int) -> torch.Tensor:
    """Rows that can be learned: each counts on by a stride of its own."""
    generator = torch.Generator().manual_seed(step)
    start = torch.randint(0, VOCAB, (BATCH, 1), generator=generator)
    stride = torch.randint(1, 4, (BATCH, 1), generator=generator)
    return (start + stride * torch.arange(SEQUENCE)) % VOCAB


@contextlib.contextmanager
def gathered_bytes() -> Iterator[list[int]]:
    """What this rank's gathers bring, in bytes. PyTorch's FSDP calls one of them, by release."""
    count = [0]
    kept = {
        name: getattr(torch.distributed, name)
        for name in ("all_gather_single", "all_gather_into_tensor")
        if hasattr(torch.distributed, name)
    }

    def counting(gather: Callable[..., Any]) -> Callable[..., Any]:
        def counted(output_tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            count[0] += output_tensor.nbytes
            return gather(output_tensor, *args, **kwargs)

        return counted

    for name, gather in kept.items():
        setattr(torch.distributed, name, counting(gather))
    try:
        yield count
    finally:
        for name, gather in kept.items():
            setattr(torch.distributed, name, gather)


def train(layout: str) -> dict[str, Any]:
    kind, config = LAYOUTS[layout]
    engine = MindSpeedParallelEngine(config(), model_of(kind))
    state = engine.parallel_state
    # One tensor at a time: experts are on a mesh of their own.
    optimizer = torch.optim.AdamW(engine.parameters(), lr=3e-3, foreach=False)
    engine.apply_optimizer_hook(optimizer)
    losses, norms, sent = [], [], 0
    for step in range(STEPS):
        ids = text(step)[state.batch :: state.batches].to("npu")
        with gathered_bytes() as count:
            loss = engine(**engine.split_sequence(ids, ids)).loss
            loss.backward()
        sent = count[0]
        norms.append(engine.clip_grad_norm_(1.0).item())
        optimizer.step()
        optimizer.zero_grad()
        mean = loss.detach() / state.world_size
        torch.distributed.all_reduce(mean)
        losses.append(mean.item())
    own = sum(p.to_local().numel() if hasattr(p, "to_local") else p.numel() for p in engine.parameters())
    return {"losses": losses, "norms": norms, "own_parameters": own, "gathered": sent}


def main() -> None:
    for layout in sys.argv[1:]:
        result = train(layout)
        gc.collect()
        if torch.distributed.get_rank() == 0:
            print(json.dumps({"layout": layout} | result), flush=True)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
