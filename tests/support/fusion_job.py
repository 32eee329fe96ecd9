# SPDX-License-Identifier: Apache-2.0
"""A rank of a group that shares vocabulary, layers and experts: cross entropy, embedding and GPTs at level 0 and with features.

Prints, for each case, what differs: the greatest difference, relative to the greatest value of level 0.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import torch
from mindspeed import megatron_adaptor
from mindspeed.adaptor import session
from torch import Tensor

megatron_adaptor.repatch({"optimization_level": 0})
import megatron_gpt  # noqa: E402

VOCAB, S, B, HIDDEN = 88, 6, 2, 16
FLAGS = (
    "moe_permute_fusion",
    "use_fused_moe_token_permute_and_unpermute",
    "gemm_gradient_accumulation_fusion",
)
OFF = {"optimization_level": 0} | dict.fromkeys(FLAGS, False)
EXPERTS = {"optimization_level": 2, "moe_grouped_gemm": True} | dict.fromkeys(FLAGS, True)
Case = Callable[[], list[Tensor]]


def start() -> tuple[int, int]:
    from megatron.core import parallel_state, tensor_parallel

    store, rank, world = next(torch.distributed.rendezvous("env://"))
    torch.npu.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("hccl", store=store, rank=rank, world_size=world)
    parallel_state.initialize_model_parallel(
        tensor_model_parallel_size=world, expert_model_parallel_size=world, expert_tensor_parallel_size=1,
        create_gloo_process_groups=False,
    )  # fmt: skip
    tensor_parallel.model_parallel_cuda_manual_seed(1)
    return rank, world


def alike(*shape: int, seed: int = 3) -> Tensor:
    """The same on all ranks."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def words() -> Tensor:
    """Of both halves, with the first and last of each."""
    some = torch.randint(0, VOCAB, (S, B), generator=torch.Generator().manual_seed(4))
    some[0, 0], some[0, 1], some[1, 0], some[1, 1] = 0, VOCAB - 1, VOCAB // 2 - 1, VOCAB // 2
    return some.npu()


def cross_entropy(rank: int, world: int, dtype: torch.dtype, smoothing: float, fusion: bool) -> Case:
    def run() -> list[Tensor]:
        from megatron.core import parallel_state
        from megatron.core.fusions import fused_cross_entropy
        from megatron.core.tensor_parallel import cross_entropy

        share = alike(S, B, VOCAB).chunk(world, -1)[rank]
        logits = (3 * share).to(device="npu", dtype=dtype).requires_grad_()
        if fusion:
            group = parallel_state.get_tensor_model_parallel_group()
            loss = fused_cross_entropy.fused_vocab_parallel_cross_entropy(logits * 1, words(), group)
        else:
            loss = cross_entropy.vocab_parallel_cross_entropy(logits * 1, words(), smoothing)
        loss.backward(alike(S, B).to(loss))
        assert logits.grad is not None
        return [loss.detach(), logits.grad]

    return run


def embedding(scattered: bool) -> Case:
    def run() -> list[Tensor]:
        from megatron.core.tensor_parallel.layers import VocabParallelEmbedding

        config = megatron_gpt.config_of(
            megatron_gpt.Size(), tensor_model_parallel_size=2, sequence_parallel=scattered
        )
        layer = VocabParallelEmbedding(
            VOCAB, HIDDEN, init_method=torch.nn.init.zeros_, config=config,
            reduce_scatter_embeddings=scattered,
        ).npu()  # fmt: skip
        begin = layer.vocab_start_index
        with torch.no_grad():
            layer.weight.copy_(alike(VOCAB, HIDDEN)[begin : begin + len(layer.weight)])
        rows = layer(words())
        rows.backward(alike(*rows.shape, seed=5).to(rows))
        return [rows.detach(), layer.weight.grad]

    return run


def model(llama: bool, sequence_parallel: bool) -> Case:
    """Gradients of norms are not summed over the parts of a sequence, as Megatron's training loop does: at both levels."""

    def run() -> list[Tensor]:
        size = megatron_gpt.Size(llama=llama)
        more = {"tensor_model_parallel_size": 2, "sequence_parallel": sequence_parallel}
        return [torch.tensor(megatron_gpt.losses(size, **more))]

    return run


CAPACITY = {"moe_expert_capacity_factor": 1.0}
KINDS: dict[str, dict[str, Any]] = {
    "dropless": {}, "dropping": CAPACITY, "padding": CAPACITY | {"moe_pad_expert_input_to_capacity": True},
}  # fmt: skip


def experts(te: bool, kind: dict[str, Any]) -> Case:
    """Half of the experts on each rank; with the fused permutation where the feature is on."""

    def run() -> list[Tensor]:
        size = megatron_gpt.Size(experts=8, te=te)
        more = {
            "tensor_model_parallel_size": 2, "sequence_parallel": True, "expert_model_parallel_size": 2,
            "expert_tensor_parallel_size": 1, "moe_permute_fusion": session.is_on("moe-permute-fusion"),
        }  # fmt: skip
        return [torch.tensor(megatron_gpt.losses(size, **more, **kind))]

    return run


def cases(rank: int, world: int) -> Iterator[tuple[str, Case]]:
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        for smoothing in (0.0, 0.1):
            yield f"cross-entropy {name} {smoothing}", cross_entropy(rank, world, dtype, smoothing, False)
    # Megatron's own fusion rounds its gradient to bfloat16.
    yield "cross-entropy bf16 fusion", cross_entropy(rank, world, torch.float32, 0.0, True)
    for scattered in (False, True):
        yield f"embedding fp32 scattered={scattered}", embedding(scattered)
        for llama in (False, True):
            yield f"losses fp32 llama={llama} sequence_parallel={scattered}", model(llama, scattered)
    for te in (False, True):
        for name, kind in KINDS.items():
            yield f"experts losses te={te} {name}", experts(te, kind)


def worst(ours: list[Tensor], theirs: list[Tensor]) -> float:
    pairs = zip(ours, theirs, strict=True)
    return max(
        ((a.float() - b.float()).abs().max() / b.float().abs().max().clamp(min=1e-3)).item() for a, b in pairs
    )


def main() -> None:
    rank, world = start()
    for name, run in cases(rank, world):
        megatron_adaptor.repatch(OFF)
        theirs = run()
        assert not session.is_on("vocab-parallel-embedding")
        megatron_adaptor.repatch({"optimization_level": 1} if not name.startswith("experts") else EXPERTS)
        assert session.is_on("vocab-parallel-embedding") and session.is_on("vocab-parallel-cross-entropy")
        assert session.is_on("moe-permute-fusion") == name.startswith("experts")
        found = torch.tensor([worst(run(), theirs)], device="npu")
        torch.distributed.all_reduce(found, op=torch.distributed.ReduceOp.MAX)
        if rank == 0:
            print(json.dumps({"case": name, "difference": found.item()}), flush=True)
    megatron_gpt.stop()


if __name__ == "__main__":
    main()
