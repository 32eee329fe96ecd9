# SPDX-License-Identifier: Apache-2.0
"""A rank that calls what other projects import, by their names, and the same without them.

Prints, for each case, the greatest difference relative to the greatest value of the reference, over all ranks.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import torch
from mindspeed import megatron_adaptor
from mindspeed.features.tooling._flops import FlopCount
from torch import Tensor

WORLD = int(os.environ["WORLD_SIZE"])
RANK = int(os.environ["RANK"])
PARALLEL: dict[str, Any] = {"tensor_model_parallel_size": WORLD, "sequence_parallel": True}
megatron_adaptor.repatch({"optimization_level": 2, "gemm_gradient_accumulation_fusion": False} | PARALLEL)
import megatron_gpt  # noqa: E402
import tensor_ranks  # noqa: E402

LENGTH, BATCH, HEADS, SIZE = 7, 2, 5, 4  # of which two ranks have unequal parts
Pairs = list[tuple[Tensor, Tensor]]


def start() -> Any:
    from megatron.core import parallel_state

    tensor_ranks.start()
    tensor_ranks.share(tensor_model_parallel_size=torch.distributed.get_world_size())
    return parallel_state.get_tensor_model_parallel_group()


def same(*shape: int, seed: int) -> Tensor:
    """On all ranks."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).npu()


def own(whole: Tensor, dim: int) -> Tensor:
    return whole.split(mapping.cal_split_sizes(whole.shape[dim], WORLD), dim)[RANK].contiguous()


def exchanged(group: Any) -> Pairs:
    whole, weight = (same(LENGTH, BATCH, HEADS, SIZE, seed=seed) for seed in (1, 2))
    part = own(whole, 0).requires_grad_()
    heads = mapping.all_to_all(part, group, 2, 0, LENGTH)
    back = mapping.all_to_all(heads, group, -4, -2, HEADS)
    (heads * own(weight, 2)).sum().backward()
    return [(heads.detach(), own(whole, 2)), (back.detach(), part.detach()), (part.grad, own(weight, 0))]


def dealt(group: Any) -> Pairs:
    whole, weight = (same(LENGTH, BATCH, HEADS, seed=seed) for seed in (1, 2))
    pairs: Pairs = []
    for dim, scale, factor in ((0, "down", 1 / WORLD), (-1, "up", WORLD), (0, None, 1)):
        x = whole.clone().requires_grad_()
        part = mapping.split_forward_gather_backward(x, group, dim, None, scale)
        (part * own(weight, dim)).sum().backward()
        sizes = mapping.cal_split_sizes(whole.shape[dim], WORLD)
        y = own(whole, dim).requires_grad_()
        again = mapping.gather_forward_split_backward(y, group, dim, sizes, scale)
        (again * weight).sum().backward()
        pairs += [(part.detach(), own(whole, dim)), (x.grad, weight * factor)]
        pairs += [(again.detach(), whole), (y.grad, own(weight, dim) * factor)]
    return pairs


class Attention(torch.nn.Module):
    """[s, b, h, d] -> [s, b, h * d]"""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (t.permute(1, 2, 0, 3) for t in (q, k, v))
        weights = (q @ k.mT).masked_fill(mask, -1e9).softmax(-1)
        return (weights @ v).permute(2, 0, 1, 3).flatten(2)


def attention(few_keys: bool) -> Callable[[Any], Pairs]:
    def run(group: Any) -> Pairs:
        from mindspeed.core.context_parallel.ulysses_context_parallel import ulysses_context_parallel as names

        mask = torch.ones(LENGTH, LENGTH, dtype=torch.bool, device="npu").triu(1)
        of_keys = 1 if few_keys else HEADS
        wholes = [
            same(LENGTH, BATCH, heads, SIZE, seed=heads + 1).requires_grad_()
            for heads in (HEADS, of_keys, of_keys)
        ]
        gradient = same(LENGTH, BATCH, HEADS * SIZE, seed=9)
        parts = [own(t.detach(), 0).requires_grad_() for t in wholes]
        repeated = [t.expand(-1, -1, HEADS, -1) for t in wholes]
        want = Attention()(*repeated, mask)
        want.backward(gradient)
        shared = names.UlyssesContextAttention(
            Attention(), group, gather_size_calculator=names.DynamicGatherSizeCalculator()
        )
        found = shared(*parts, mask)
        found.backward(own(gradient, 0))
        grads = [(part.grad, own(whole.grad, 0)) for part, whole in zip(parts, wholes, strict=True)]
        return [(found.detach(), own(want.detach(), 0)), *grads]

    return run


def ring(**more: Any) -> Callable[[Any], Pairs]:
    """Half as many keys as heads; each rank has two chunks of the sequence."""

    def run(group: Any) -> Pairs:
        import torch_npu
        from mindspeed.core.context_parallel.ring_context_parallel import ring_context_parallel as names
        from mindspeed.features.fusion.flash_attention import triangle

        length, heads, size = 8 * WORLD, 4, 16
        widths = (heads * size, heads // 2 * size, heads // 2 * size)
        wholes = [same(length, BATCH, w, seed=at).requires_grad_() for at, w in enumerate(widths)]
        gradient = same(length, BATCH, heads * size, seed=9)

        def mine(whole: Tensor) -> Tensor:
            chunks = whole.detach().chunk(2 * WORLD)
            return torch.cat([chunks[RANK], chunks[-1 - RANK]])

        mask = {"atten_mask": triangle(gradient.device), "sparse_mode": 2} if more["causal"] else {}
        want = torch_npu.npu_fusion_attention(*wholes, heads, "SBH", scale=size**-0.5, **mask)[0]
        want.backward(gradient)
        parts = [mine(whole).requires_grad_() for whole in wholes]
        found = names.ringattn_context_parallel(*parts, heads, {"cp_group": group} | more)
        found.backward(mine(gradient))
        return [
            (found.detach(), mine(want)),
            *((p.grad, mine(w.grad)) for p, w in zip(parts, wholes, strict=True)),
        ]

    return run


def packed_ring(causal: bool, ends: list[int], **given: bool) -> Callable[[Any], Pairs]:
    """Sequences of three lengths. Causal: each rank has two chunks of each; else of two batch entries one stretch of them all."""

    def run(group: Any) -> Pairs:
        import torch_npu
        from megatron.core.packed_seq_params import PackedSeqParams
        from mindspeed.core.context_parallel.ring_context_parallel import ring_context_parallel as names
        from mindspeed.features.fusion.flash_attention import triangle

        heads, size, tokens = 4, 16, ends[-1]
        wholes = [same(tokens, h, size, seed=h + at).requires_grad_() for at, h in enumerate((4, 2, 2))]
        gradient = same(tokens, heads, size, seed=9)
        want = torch_npu.npu_fusion_attention(
            *wholes, heads, "TND", scale=size**-0.5, atten_mask=triangle(gradient.device), sparse_mode=3,
            actual_seq_qlen=ends, actual_seq_kvlen=ends,
        )[0]  # fmt: skip
        want.backward(gradient)

        def of_sequences(whole: Tensor) -> Tensor:
            chunks = [part.chunk(2 * WORLD) for part in whole.detach().tensor_split(ends[:-1])]
            return torch.cat([part[at] for part in chunks for at in (RANK, -1 - RANK)])

        def of_stretches(whole: Tensor) -> Tensor:
            return whole.detach().view(BATCH, -1, whole[0].numel()).chunk(WORLD, 1)[RANK].transpose(0, 1)

        mine = of_sequences if causal else of_stretches
        lengths = torch.tensor([0, *ends] if given else ends, device="npu")
        if causal and not given:
            lengths //= WORLD
        packed = PackedSeqParams(cu_seqlens_q=lengths, cu_seqlens_kv=lengths)
        if given:
            packed.cu_seqlens_q_padded = lengths
        parts = [mine(whole).contiguous().requires_grad_() for whole in wholes]
        settings = {"cp_group": group, "causal": causal}
        found = names.ringattn_context_parallel(*parts, heads, settings, packed_seq_params=packed)
        found.backward(mine(gradient))
        return [
            (found.detach(), mine(want)),
            *((p.grad, mine(w.grad)) for p, w in zip(parts, wholes, strict=True)),
        ]

    return run


def layer(kind: str, name: str, **config: Any) -> Callable[[Any], Pairs]:
    """A layer by its class, and Megatron's own."""

    def run(group: Any) -> Pairs:
        import importlib

        from megatron.core.tensor_parallel import layers

        module = importlib.import_module(f"mindspeed.core.tensor_parallel.{name}_feature.adaptor")
        prefix = {"mc2": "MindSpeedMC2", "coc": "MindSpeedCoC"}[name]
        kinds = [getattr(layers, f"{kind}ParallelLinear"), getattr(module, f"{prefix}{kind}ParallelLinear")]
        results = []
        for made in kinds:
            settings = megatron_gpt.config_of(megatron_gpt.Size(), **PARALLEL)
            for field, value in config.items():
                setattr(settings, field, value)
            options = {"input_is_parallel": True, "skip_bias_add": False} if kind == "Row" else {}
            linear = made(8, 12, config=settings, init_method=torch.nn.init.normal_, bias=True, **options)
            assert type(linear) is made
            with torch.no_grad():
                for number, parameter in enumerate(linear.parameters()):
                    parameter.copy_(same(*parameter.shape, seed=number + 10 * RANK))
            shape = (3, 2, 8) if kind == "Column" else (3 * WORLD, 2, 8 // WORLD)
            x = same(*shape, seed=5 + RANK).requires_grad_()
            with FlopCount() as count:
                y, _ = linear(x)
            y.backward(same(*y.shape, seed=7 + RANK))
            operations = torch.tensor(float(count.total), device="npu")
            results.append([y.detach(), x.grad, linear.weight.grad, linear.bias.grad, operations])
        return list(zip(results[1], results[0], strict=True))

    return run


def of_a_grid(x: int, y: int) -> Callable[[Any], Pairs]:
    """Norms over a hidden size that is cut by y, of a sequence that is cut by x, and what cuts and gathers."""

    def run(group: Any) -> Pairs:
        from mindspeed.adaptor.session import current_arguments
        from mindspeed.core.tensor_parallel import comm_autograd_function as moves
        from mindspeed.core.tensor_parallel.comm_group_api import TPXCollectiveComm, TPYCollectiveComm
        from mindspeed.core.tensor_parallel.comm_utils import sync_reduce_scatter_along_first_dim
        from mindspeed.core.tensor_parallel.tp_2d.layernorm_2d import LayerNorm2D
        from mindspeed.core.tensor_parallel.tp_2d.rms_norm_2d import RMSNorm2D

        current_arguments().tp_x, current_arguments().tp_y = x, y
        length, width, pairs = 4, 8, []
        whole, gradient = (same(length, BATCH, width, seed=seed) for seed in (1, 2))
        functional = torch.nn.functional
        for made, plain in (
            (LayerNorm2D(width), lambda t, w: functional.layer_norm(t, (width,), w, torch.zeros_like(w))),
            (LayerNorm2D(width, bias=False), lambda t, w: functional.layer_norm(t, (width,), w, None)),
            (RMSNorm2D(width).npu(), lambda t, w: functional.rms_norm(t, (width,), w, 1e-6)),
        ):
            twin, weight = whole.clone().requires_grad_(), same(width, seed=3).requires_grad_()
            want = plain(twin, weight)
            want.backward(gradient)
            with torch.no_grad():
                made.weight.copy_(weight.chunk(y)[TPYCollectiveComm.get_comm_rank()])
            given = whole.clone().requires_grad_()
            part = moves.auto_grad_scatter_along_first_dim_then_last_dim(
                given, TPXCollectiveComm, TPYCollectiveComm
            )
            out = moves.auto_grad_sync_gather_along_first_dim(made(part), TPXCollectiveComm)
            out = moves.auto_grad_sync_gather_along_last_dim(out, TPYCollectiveComm())
            out.backward(gradient)
            mine = sync_reduce_scatter_along_first_dim(made.weight.grad, TPXCollectiveComm)
            pairs += [
                (out.detach(), want.detach()),
                (given.grad, twin.grad),
                (mine, weight.grad.chunk(WORLD)[RANK]),
            ]
        return pairs

    return run


def through_devices(group: Any) -> Pairs:
    """Tensors of the host, in slices that divide nothing evenly."""
    from mindspeed import utils
    from mindspeed.adaptor.session import current_arguments

    current_arguments().hccl_slice_size = 3
    mine = same(10, seed=RANK).cpu()
    every = [torch.zeros(10) for _ in range(WORLD)]
    utils._gather_hccl(mine, every, group)
    pairs = [(every[rank], same(10, seed=rank).cpu()) for rank in range(WORLD) if RANK == 0]
    part = torch.zeros(10)
    utils._scatter_hccl(
        part, [same(10, seed=rank + 5).cpu() for rank in range(WORLD)] if RANK == 0 else None, 0, group
    )
    return [(a.npu(), b.npu()) for a, b in [*pairs, (part, same(10, seed=RANK + 5).cpu())]]


def cases() -> Iterator[tuple[str, Callable[[Any], Pairs]]]:
    yield "all_to_all", exchanged
    yield "split and gather", dealt
    yield "ulysses", attention(few_keys=False)
    yield "ulysses few keys", attention(few_keys=True)
    yield "grid 1 x 2", of_a_grid(1, WORLD)
    yield "grid 2 x 1", of_a_grid(WORLD, 1)
    yield "gather and scatter of the host's", through_devices
    yield "ring", ring(causal=True, cp_group_for_send_recv_overlap=None)
    yield (
        "ring that keeps",
        ring(causal=True, cache_policy="half", cp_group_for_send_recv_overlap="there is one"),
    )
    yield "ring of all", ring(causal=False)
    yield "ring of sequences", packed_ring(True, [4 * WORLD, 6 * WORLD, 12 * WORLD])
    yield "ring of padded sequences", packed_ring(True, [4 * WORLD, 6 * WORLD, 12 * WORLD], padded=True)
    yield "ring of stretches", packed_ring(False, [3, 5 * WORLD, 9 * WORLD, 10 * WORLD])
    for kind in ("Column", "Row"):
        yield f"mc2 {kind}", layer(kind, "mc2")
        yield f"coc {kind}", layer(kind, "coc", coc_mode=2, coc_parallel_num=2, coc_fused_kernel=False)
        yield f"coc fused {kind}", layer(kind, "coc", coc_mode=2, coc_parallel_num=2, coc_fused_kernel=True)


def main() -> None:
    group = start()
    for name, run in cases():
        differences = [(a - b).abs().max() / b.abs().max() for a, b in run(group)]
        worst = torch.stack(differences).max()
        torch.distributed.all_reduce(worst, op=torch.distributed.ReduceOp.MAX)
        if RANK == 0:
            print(json.dumps({"case": name, "difference": worst.item()}), flush=True)
    megatron_gpt.stop()


if __name__ == "__main__":
    from mindspeed.core.context_parallel.ulysses_context_parallel.unaligned_cp import mapping

    main()
