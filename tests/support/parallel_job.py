# SPDX-License-Identifier: Apache-2.0
"""The training job of the parallel parity tests: `torchrun ... parallel_job.py RUN...`, all of one world size.

Carries out each run (see parallel_layouts.py) in turn and prints, from rank 0, one line of JSON for each: the layout's
name, and per step the loss over the whole batch and the norm of the gradient. The model, its weights and the data are
the same in every layout.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import mindspeed.megatron_adaptor  # noqa: F401
import parallel_checkpoint
import torch
from parallel_layouts import STEPS, Layout, Run
from parallel_weights import set_weights
from torch import Tensor

# HIDDEN: Megatron 0.12.1 cuts the distributed optimizer's buckets wrongly around a shared embedding unless all in front
# of it ends at a multiple of 128.
VOCAB, SEQUENCE, HEADS, HIDDEN, EXPERTS, TOP_K = 128, 32, 8, 128, 8, 2
BATCH, RATE, DECAY, CLIP = 8, 1e-3, 0.1, 1.0
# By how many tokens of every three micro-batches the second and third are shorter; of heads; of a sample, 0: no mask.
SHORTER, GROUPS, DOCUMENTS = 0, HEADS, 0
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
ZERO = {"zero2": "optim_grads", "zero3": "optim_grads_params"}
Batch = dict[str, Tensor]


@functools.cache
def _meeting_point() -> tuple[torch.distributed.Store, int, int]:
    """torchrun's store, this rank and their number."""
    return next(torch.distributed.rendezvous("env://"))


def initialize(layout: Layout, number: int, with_gloo: bool = False) -> None:
    """The `number`-th job of this process."""
    from megatron.core import parallel_state, tensor_parallel

    store, rank, world = _meeting_point()
    torch.npu.set_device(int(os.environ["LOCAL_RANK"]))
    # Groups are called alike in each job: without a prefix one would find the keys of the job before.
    store = torch.distributed.PrefixStore(f"job{number}", store)
    torch.distributed.init_process_group("hccl", store=store, rank=rank, world_size=world)
    parallel_state.initialize_model_parallel(
        tensor_model_parallel_size=layout.tp,
        pipeline_model_parallel_size=layout.pp,
        virtual_pipeline_model_parallel_size=layout.vp if layout.vp > 1 else None,
        context_parallel_size=layout.cp,
        expert_model_parallel_size=layout.ep,
        expert_tensor_parallel_size=layout.etp or None,
        create_gloo_process_groups=with_gloo or layout.optimizer in ZERO,  # Megatron's FSDP asks for them
    )
    tensor_parallel.model_parallel_cuda_manual_seed(1)


def finalize() -> None:
    from megatron.core import parallel_state

    torch.npu.synchronize()
    parallel_state.destroy_model_parallel()
    parallel_state._EMBEDDING_GLOBAL_RANKS = None  # forgotten there, like the next
    parallel_state._POSITION_EMBEDDING_GLOBAL_RANKS = None
    torch.distributed.destroy_process_group()
    if "main_grad" in vars(torch.nn.Parameter):  # left on the class by Megatron's FSDP
        del torch.nn.Parameter.main_grad


def _model_options(layout: Layout) -> dict[str, Any]:
    """Dense: LayerNorm, GELU and biases. Gated and MoE: RMS norm, SwiGLU, grouped queries; MoE: a shared expert."""
    if layout.model == "dense":
        return {"num_query_groups": GROUPS}
    gated = {
        "normalization": "RMSNorm",
        "gated_linear_unit": True,
        "activation_func": torch.nn.functional.silu,
        "add_bias_linear": False,
        "num_query_groups": HEADS // 2,
    }
    if layout.model == "gated":
        return gated
    return gated | {
        "num_moe_experts": EXPERTS,
        "moe_ffn_hidden_size": HIDDEN // 2,
        "moe_shared_expert_intermediate_size": HIDDEN // 2,
        "moe_router_topk": TOP_K,
        # This version of Megatron divides the gradient of this loss by the context-parallel size.
        "moe_aux_loss_coeff": 1e-2 * layout.cp,
        "moe_token_dispatcher_type": layout.dispatcher,
        "moe_grouped_gemm": layout.grouped,
        "expert_model_parallel_size": layout.ep,
        "expert_tensor_parallel_size": layout.etp or layout.tp,
    }


def transformer_config(layout: Layout, **more: Any) -> Any:
    from megatron.core.transformer.transformer_config import TransformerConfig

    recompute = {"recompute_granularity": layout.recompute} if layout.recompute else {}
    if layout.recompute in ("full", "block"):
        method = "uniform" if layout.recompute == "full" else "block"
        recompute = {
            "recompute_granularity": "full", "recompute_method": method, "recompute_num_layers": 1,
        }  # fmt: skip
    return TransformerConfig(
        num_layers=layout.layers,
        hidden_size=HIDDEN,
        num_attention_heads=HEADS,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        attention_softmax_in_fp32=True,
        params_dtype=DTYPES[layout.dtype],
        pipeline_dtype=DTYPES[layout.dtype],
        bf16=layout.dtype == "bf16",
        tensor_model_parallel_size=layout.tp,
        sequence_parallel=layout.sp,
        pipeline_model_parallel_size=layout.pp,
        virtual_pipeline_model_parallel_size=layout.vp if layout.vp > 1 else None,
        overlap_p2p_comm=layout.overlap_p2p,
        batch_p2p_comm=not layout.overlap_p2p,
        context_parallel_size=layout.cp,
        variable_seq_lengths=SHORTER > 0 and layout.pp > 1,
        calculate_per_token_loss=layout.per_token_loss,
        gradient_accumulation_fusion=layout.adds,
        **(recompute | _model_options(layout) | more),
    )


def _ends(index: int | None) -> dict[str, Any]:
    """Whether a chunk has the embedding and the head; later releases do not keep in Megatron's state which chunk it is."""
    from megatron.core import parallel_state

    first, last = parallel_state.is_pipeline_first_stage, parallel_state.is_pipeline_last_stage
    if "vp_stage" not in inspect.signature(first).parameters:
        return {"pre_process": first(), "post_process": last()}
    chunk = {"ignore_virtual": False, "vp_stage": index}
    return {"pre_process": first(**chunk), "post_process": last(**chunk), "vp_stage": index}


def build_chunk(layout: Layout, config: Any, index: int) -> torch.nn.Module:
    from megatron.core.models.gpt import GPTModel
    from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
    from megatron.core.transformer.module import Float16Module

    chunk = GPTModel(
        config,
        get_gpt_layer_local_spec(
            num_experts=config.num_moe_experts,
            moe_grouped_gemm=layout.grouped,
            normalization=config.normalization,
        ),
        VOCAB,
        SEQUENCE,
        **_ends(index if layout.vp > 1 else None),
        share_embeddings_and_output_weights=layout.model == "dense" and not layout.untied,
        position_embedding_type="rope",
    )
    set_weights(chunk)
    chunk = chunk.to(torch.device("npu"))
    return chunk if layout.dtype == "fp32" else Float16Module(config, chunk)


class Gap:
    """By how much the last chosen expert is ahead of the first one left out, at least, over all tokens and layers.

    Where this is of the order of rounding errors, another order of sums sends a token to another expert.
    """

    def __init__(self, chunks: list[torch.nn.Module]) -> None:
        from megatron.core.transformer.moe.router import TopKRouter

        self.least = float("inf")
        for chunk in chunks:
            for module in chunk.modules():
                if isinstance(module, TopKRouter):
                    module.register_forward_hook(self._look)

    @torch.no_grad()
    def _look(self, router: Any, inputs: tuple[Tensor], _: Any) -> None:
        best = router.gating(inputs[0]).float().topk(TOP_K + 1).values
        self.least = min(self.least, (best[..., -2] - best[..., -1]).min().item())


def wrap(layout: Layout, config: Any, chunk: torch.nn.Module, index: int) -> torch.nn.Module:
    """Make the chunk data parallel."""
    from megatron.core.distributed import (
        DistributedDataParallel,
        DistributedDataParallelConfig,
        TorchFullyShardedDataParallel,
    )

    ddp_config = DistributedDataParallelConfig(
        grad_reduce_in_fp32=True,
        use_distributed_optimizer=layout.optimizer not in ("plain", "fsdp2"),
        overlap_grad_reduce=layout.optimizer in ("overlap", *ZERO),
        overlap_param_gather=layout.optimizer in ("overlap", "zero3"),
        bucket_size=20_000 if layout.optimizer == "overlap" else None,  # so that there are several
        **({"use_custom_fsdp": True} if layout.optimizer in ZERO else {}),  # its name until 0.13
        data_parallel_sharding_strategy=ZERO.get(layout.optimizer, "no_shard"),
    )
    if layout.optimizer == "fsdp2":
        return TorchFullyShardedDataParallel(config, ddp_config, chunk)
    wrapper = DistributedDataParallel
    if layout.optimizer in ZERO:
        from megatron.core.distributed.custom_fsdp import FullyShardedDataParallel as wrapper
    return wrapper(config, ddp_config, chunk, disable_bucketing=index > 0)


def build_model(layout: Layout, config: Any) -> list[torch.nn.Module]:
    from megatron.core import parallel_state

    chunks = []
    for index in range(layout.vp):
        if layout.vp > 1:
            parallel_state.set_virtual_pipeline_model_parallel_rank(index)
        chunks.append(wrap(layout, config, build_chunk(layout, config, index), index))
    return chunks


def build_optimizer(
    layout: Layout, chunks: list[torch.nn.Module], with_gloo: bool = False, name: str = "adam"
) -> Any:
    from megatron.core.optimizer import OptimizerConfig, get_megatron_optimizer
    from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler

    config = OptimizerConfig(
        optimizer=name,
        lr=RATE,
        min_lr=RATE,
        weight_decay=DECAY,
        adam_beta2=0.95,
        clip_grad=CLIP,
        bf16=layout.dtype == "bf16",
        params_dtype=DTYPES[layout.dtype],
        use_distributed_optimizer=layout.optimizer not in ("plain", "fsdp2"),
    )
    with_gloo = with_gloo or layout.optimizer in ZERO
    optimizer = get_megatron_optimizer(config, chunks, use_gloo_process_groups=with_gloo)
    OptimizerParamScheduler(  # tells the parameter groups their weight decay
        optimizer,
        init_lr=RATE,
        max_lr=RATE,
        min_lr=RATE,
        lr_warmup_steps=0,
        lr_decay_steps=STEPS,
        lr_decay_style="constant",
        start_wd=DECAY,
        end_wd=DECAY,
        wd_incr_steps=STEPS,
        wd_incr_style="constant",
    )
    return optimizer


def connect(layout: Layout, config: Any, chunks: list[torch.nn.Module], optimizer: Any) -> None:
    """What Megatron-LM's training loop tells the schedule."""
    from megatron.core.distributed import finalize_model_grads

    def alone(functions: list[Any]) -> Any:
        return functions[0] if len(functions) == 1 else functions

    config.grad_scale_func = optimizer.scale_loss
    config.finalize_model_grads_func = finalize_model_grads
    if layout.optimizer == "overlap":
        config.no_sync_func = alone([chunk.no_sync for chunk in chunks])
        config.grad_sync_func = alone([chunk.start_grad_sync for chunk in chunks])
        config.param_sync_func = alone([chunk.start_param_sync for chunk in chunks])


def samples(step: int) -> Tensor:
    """The whole batch of a step, [BATCH, SEQUENCE + 1]: counting with a stride of its own in each row."""
    generator = torch.Generator().manual_seed(100 + step)
    start = torch.randint(0, VOCAB, (BATCH, 1), generator=generator)
    stride = torch.randint(1, 5, (BATCH, 1), generator=generator)
    return (start + stride * torch.arange(SEQUENCE + 1)) % VOCAB


def document_mask() -> Tensor:
    """Causal in each of DOCUMENTS stretches of the sequence; True where a key is hidden."""
    position = torch.arange(SEQUENCE, device="npu")
    document = position * DOCUMENTS // SEQUENCE
    hidden = (position > position.unsqueeze(1)) | (document != document.unsqueeze(1))
    return hidden.view(1, 1, SEQUENCE, SEQUENCE)


def micro_batches(step: int) -> Iterator[Batch]:
    """This rank's samples, one at a time, cut along the sequence for context parallelism."""
    from megatron.core import parallel_state
    from megatron.core.utils import get_batch_on_this_cp_rank

    # From 0.16 on with a group, without which 0.18 takes the whole world; from 0.17 on with the kind of context parallelism.
    known = inspect.signature(get_batch_on_this_cp_rank).parameters
    told = {"is_hybrid_cp": False, "cp_group": parallel_state.get_context_parallel_group()}
    told = {name: value for name, value in told.items() if name in known}
    rank, size = parallel_state.get_data_parallel_rank(), parallel_state.get_data_parallel_world_size()
    for number, row in enumerate(samples(step)[rank::size]):
        text = row[: len(row) - SHORTER * (number % 3)].unsqueeze(0).to("npu")
        positions = torch.arange(text.shape[1] - 1, device="npu").unsqueeze(0)
        mask = {"attention_mask": document_mask()} if DOCUMENTS else {}
        yield get_batch_on_this_cp_rank(
            {"tokens": text[:, :-1], "labels": text[:, 1:], "position_ids": positions} | mask, **told
        )


def _loss(output: Tensor, per_token: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Sum over this rank's tokens; number of tokens, of the whole sequence where that is to divide; for the report
    the two over the whole sequence."""
    from megatron.core import parallel_state

    total = output.float().sum()
    whole = torch.stack([total.detach(), torch.full_like(total, output.numel())])
    torch.distributed.all_reduce(whole, group=parallel_state.get_context_parallel_group())
    tokens = torch.tensor(output.numel(), device=output.device) if per_token else whole[1]
    return total, tokens.int(), whole


def forward_step(source: Iterator[Batch], model: torch.nn.Module, per_token: bool) -> tuple[Tensor, Callable]:
    batch = next(source)
    output = model(
        batch["tokens"], batch["position_ids"], batch.get("attention_mask"), labels=batch["labels"]
    )
    return output, functools.partial(_loss, per_token=per_token)


def mean_loss(reports: list[Tensor]) -> float:
    """Over the whole batch, the same on all ranks."""
    from megatron.core import parallel_state

    total = torch.stack(reports).sum(0) if reports else torch.zeros(2, device="npu")
    if (
        parallel_state.get_tensor_model_parallel_rank() != 0
        or parallel_state.get_context_parallel_rank() != 0
    ):
        total = torch.zeros_like(total)
    torch.distributed.all_reduce(total)
    return (total[0] / total[1]).item()


def train_step(
    layout: Layout, chunks: list[torch.nn.Module], optimizer: Any, step: int
) -> tuple[float, float]:
    from megatron.core.pipeline_parallel import get_forward_backward_func

    for chunk in chunks:
        chunk.zero_grad_buffer()
    optimizer.zero_grad()
    sources = [micro_batches(step) for _ in chunks]
    reports = get_forward_backward_func()(
        forward_step_func=functools.partial(forward_step, per_token=layout.per_token_loss),
        data_iterator=sources if layout.vp > 1 else sources[0],
        model=chunks,
        num_microbatches=BATCH // layout.dp,
        seq_length=SEQUENCE,
        micro_batch_size=1,
        forward_only=False,
    )
    is_done, norm, _ = optimizer.step()
    assert is_done
    return mean_loss(reports), float(norm)


def train(run: Run, number: int) -> dict[str, Any]:
    layout = run.layout
    initialize(layout, number)
    config = transformer_config(layout)
    chunks = build_model(layout, config)
    optimizer = build_optimizer(layout, chunks)
    connect(layout, config, chunks, optimizer)
    if run.load:
        parallel_checkpoint.load(run.load, chunks, optimizer)
    gap = Gap(chunks)
    steps = [train_step(layout, chunks, optimizer, step) for step in range(run.first, run.last)]
    if run.save:
        parallel_checkpoint.save(run.save, chunks, optimizer)
    finalize()
    losses, norms = zip(*steps, strict=True)
    return {"layout": layout.name, "losses": losses, "norms": norms, "gap": gap.least}


def main() -> None:
    for number, text in enumerate(sys.argv[1:]):
        result = train(Run.from_json(text), number)
        if os.environ["RANK"] == "0":
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
