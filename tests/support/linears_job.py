# SPDX-License-Identifier: Apache-2.0
"""A rank of a tensor-parallel group: layers and GPTs without some flags and with them.

    linears_job.py FLAGS                 the flags of the features, as JSON
    linears_job.py FLAGS all-reduce      without sequence parallelism

Prints, for each case, the greatest difference relative to the greatest value without, and how often the fused operators
and each collective were called with it, collectives that are waited for later apart (NAME async).
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch_npu
from mindspeed import megatron_adaptor
from torch import Tensor

WORLD = int(os.environ["WORLD_SIZE"])
RANK = int(os.environ["RANK"])
FLAGS: dict[str, Any] = json.loads(sys.argv[1])
SHARES_SEQUENCE = sys.argv[2:] != ["all-reduce"]
PARALLEL: dict[str, Any] = {"tensor_model_parallel_size": WORLD, "sequence_parallel": SHARES_SEQUENCE}
# Level 2 without anything else that changes how a layer computes.
PLAIN = {"optimization_level": 2, "gemm_gradient_accumulation_fusion": False} | PARALLEL
PLAIN |= {flag: False for flag, value in FLAGS.items() if value is True}
FUSED = PLAIN | FLAGS
FUNCTIONS = {
    "npu_all_gather_base_mm": torch_npu, "npu_mm_reduce_scatter_base": torch_npu, "npu_mm_all_reduce_base": torch_npu,
    "all_gather_into_tensor": torch.distributed, "reduce_scatter_tensor": torch.distributed, "all_reduce": torch.distributed,
}  # fmt: skip
megatron_adaptor.repatch(PLAIN)
import megatron_gpt  # noqa: E402
import tensor_ranks  # noqa: E402

S, B, WIDE, NARROW = 4, 3, 16, 8  # S of each rank, WIDE and NARROW of each slice
Case = Callable[[], list[Tensor]]
calls: Counter[str] = Counter()


def count() -> None:
    def counting(name: str, function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls[f"{name} async" if kwargs.get("async_op") else name] += 1
            return function(*args, **kwargs)

        return call

    for name, module in FUNCTIONS.items():
        setattr(module, name, counting(name, getattr(module, name)))


def own(*shape: int, dtype: torch.dtype, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + 10 * RANK)).to("npu", dtype)


def column(te: bool, config: Any, skip: bool) -> torch.nn.Module:
    if te:
        from megatron.core.extensions.transformer_engine import TEColumnParallelLinear as Layer
    else:
        from megatron.core.tensor_parallel import ColumnParallelLinear as Layer
    options = {"skip_bias_add": skip, "gather_output": False, "is_expert": False}
    return Layer(NARROW, WIDE * WORLD, config=config, init_method=torch.nn.init.normal_, bias=True, **options)


def row(te: bool, config: Any, skip: bool) -> torch.nn.Module:
    if te:
        from megatron.core.extensions.transformer_engine import TERowParallelLinear as Layer
    else:
        from megatron.core.tensor_parallel import RowParallelLinear as Layer
    options = {"skip_bias_add": skip, "input_is_parallel": True, "is_expert": False}
    return Layer(WIDE * WORLD, NARROW, config=config, init_method=torch.nn.init.normal_, bias=True, **options)


def layer(
    make: Callable[..., torch.nn.Module],
    te: bool,
    dtype: torch.dtype = torch.float32,
    skip: bool = False,
    frozen: bool = False,
    added: bool = False,
) -> Case:
    def run() -> list[Tensor]:
        size = megatron_gpt.Size(dtype=dtype)
        config = megatron_gpt.config_of(size, gradient_accumulation_fusion=added, **PARALLEL)
        module = make(te, config, skip)
        with torch.no_grad():
            for number, parameter in enumerate(module.parameters()):
                parameter.copy_(own(*parameter.shape, dtype=dtype, seed=number))
        module.weight.requires_grad_(not frozen)
        if added:
            module.weight.main_grad = torch.ones_like(module.weight, dtype=torch.float32)
        whole = (S * WORLD, B, WIDE)
        narrow = (S if SHARES_SEQUENCE else S * WORLD, B, NARROW)
        x = own(*(narrow if make is column else whole), dtype=dtype, seed=5).requires_grad_()
        y, bias = module(x)
        y.backward(own(*y.shape, dtype=dtype, seed=6))
        gradients = [x.grad, module.weight.main_grad if added else module.weight.grad]
        gradients += [] if bias is not None else [module.bias.grad]  # None of a frozen layer of Megatron's
        return [y.detach(), *(g for g in gradients if g is not None)]

    return run


def model(te: bool, **more: Any) -> Case:
    def run() -> list[Tensor]:
        size = megatron_gpt.Size(llama=True, te=te)
        options = PARALLEL | more
        if WORLD > 2:
            options["num_query_groups"] = 4
        return [torch.tensor(megatron_gpt.losses(size, **options))]

    return run


def cases() -> Iterator[tuple[str, Case]]:
    for make in (column, row):
        for te in (False, True):
            kind = f"layer {make.__name__} {'te' if te else 'local'}"
            yield f"{kind} fp32", layer(make, te)
            yield f"{kind} fp32 bias left", layer(make, te, skip=True)
            yield f"{kind} fp32 frozen", layer(make, te, frozen=True)
            yield f"{kind} fp32 added to main_grad", layer(make, te, added=True)
            yield f"{kind} bf16", layer(make, te, torch.bfloat16)
    for te in (False, True):
        kind = f"losses {'te' if te else 'local'}"
        yield kind, model(te)
        full = {"recompute_granularity": "full", "recompute_method": "uniform", "recompute_num_layers": 1}
        yield f"{kind} recomputed", model(te, **full)


def worst(ours: list[Tensor], theirs: list[Tensor]) -> float:
    pairs = zip(ours, theirs, strict=True)
    return max(((a.float() - b.float()).abs().max() / b.float().abs().max()).item() for a, b in pairs)


def main() -> None:
    tensor_ranks.start()
    tensor_ranks.share(tensor_model_parallel_size=WORLD)
    count()
    for name, run in cases():
        megatron_adaptor.repatch(PLAIN)
        theirs = run()
        calls.clear()
        megatron_adaptor.repatch(FUSED)
        ours = run()
        counted = dict(calls)
        found = torch.tensor([worst(ours, theirs)], device="npu")
        torch.distributed.all_reduce(found, op=torch.distributed.ReduceOp.MAX)
        if RANK == 0:
            print(json.dumps({"case": name, "difference": found.item(), **counted}), flush=True)
    megatron_gpt.stop()


if __name__ == "__main__":
    main()
