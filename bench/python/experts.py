# SPDX-License-Identifier: Apache-2.0
"""Layers of experts and products of int8 through torch_npu, next to what they are measured by.

- products of groups (npu_grouped_matmul) next to one product of as many multiply-adds (wanted: 0.9 of its rate);
- tokens to their experts, two products with SwiGLU between them and back (npu_moe_token_permute ... unpermute) next to the same
  in PyTorch on the CPU, an expert after the other, in a process without torch_npu (wanted: twice its speed);
- products of int8 (npu_quant_matmul) next to those of float32 (wanted: 1.5 times their rate).

Times are the least of some repetitions, ms.   python bench/python/experts.py [--repeats 9]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import torch

TOKENS, HIDDEN, INNER, CHOICES = 4096, 1024, 512, 2
EXPERTS = (8, 32, 128)
PLAIN = "--plain"


def least(work: Callable[[], object], repeats: int, wait: Callable[[], object]) -> float:
    work()
    wait()
    found = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        wait()
        found.append(time.perf_counter() - begin)
    return min(found) * 1e3


def ragged(experts: int) -> torch.Tensor:
    """Tokens of each expert: a few have many, one has none."""
    shares = torch.arange(experts, dtype=torch.float64) ** 2
    counts = (shares / shares.sum() * TOKENS).long()
    counts[-1] += TOKENS - counts.sum()
    return counts


def choices(experts: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each token the experts and their weights."""
    generator = torch.Generator().manual_seed(experts)
    scores = torch.randn(TOKENS, experts, generator=generator)
    weights, chosen = scores.softmax(-1).topk(CHOICES)
    return chosen, weights


def layer(experts: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(TOKENS, HIDDEN, generator=generator)
    up = torch.randn(experts, HIDDEN, 2 * INNER, generator=generator) / HIDDEN**0.5
    down = torch.randn(experts, INNER, HIDDEN, generator=generator) / INNER**0.5
    return x.to(dtype), up.to(dtype), down.to(dtype)


def plain_layer(experts: int, dtype: torch.dtype) -> Callable[[], torch.Tensor]:
    """In PyTorch, an expert after the other."""
    x, up, down = layer(experts, dtype)
    chosen, weights = choices(experts)
    weights = weights.to(dtype)

    def run() -> torch.Tensor:
        out = torch.zeros_like(x)
        for expert in range(experts):
            token, place = (chosen == expert).nonzero(as_tuple=True)
            gate, value = (x[token] @ up[expert]).chunk(2, -1)
            found = (torch.nn.functional.silu(gate) * value) @ down[expert]
            out.index_add_(0, token, found * weights[token, place, None])
        return out

    return run


def plain(repeats: int) -> None:
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    found = {}
    with torch.no_grad():
        for dtype in (torch.float32, torch.bfloat16):
            for experts in EXPERTS:
                run = plain_layer(experts, dtype)
                found[f"{dtype} {experts}"] = [least(run, repeats, lambda: None), run().float().norm().item()]
    print(json.dumps(found))


def in_a_process_of_its_own(repeats: int) -> dict[str, list[float]]:
    environment = os.environ | {"TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
    command = [sys.executable, __file__, PLAIN, "--repeats", str(repeats)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def grouped(x: torch.Tensor, weights: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    import torch_npu

    return torch_npu.npu_grouped_matmul(
        [x], [weights], group_list=counts, split_item=3, group_type=0, group_list_type=1
    )[0]


def fused_layer(experts: int, dtype: torch.dtype) -> Callable[[], torch.Tensor]:
    import torch_npu

    x, up, down = (t.npu() for t in layer(experts, dtype))
    chosen, weights = (t.npu() for t in choices(experts))
    weights = weights.to(dtype)

    def run() -> torch.Tensor:
        counts = torch.bincount(chosen.view(-1), minlength=experts)
        sorted_x, places = torch_npu.npu_moe_token_permute(x, chosen.int())
        inner = torch_npu.npu_swiglu(grouped(sorted_x, up, counts))
        return torch_npu.npu_moe_token_unpermute(grouped(inner, down, counts), places, weights)

    return run


def rows(repeats: int) -> Iterator[tuple[str, float, float, float]]:
    """Name, ours and the peer's ms, and the ratio."""
    wait = torch.npu.synchronize
    for dtype in (torch.float32, torch.bfloat16):
        word = str(dtype).removeprefix("torch.")
        x, w = (torch.randn(n, HIDDEN).to(dtype).npu() for n in (TOKENS, HIDDEN))
        one = least(lambda x=x, w=w: x @ w, repeats, wait)
        for experts in EXPERTS:
            weights = torch.randn(experts, HIDDEN, HIDDEN).to(dtype).npu()
            counts = ragged(experts).npu()
            ours = least(lambda x=x, w=weights, c=counts: grouped(x, w, c), repeats, wait)
            yield f"{experts} groups of {word}, of one product", ours, one, one / ours
    theirs = in_a_process_of_its_own(repeats)
    for dtype in (torch.float32, torch.bfloat16):
        for experts in EXPERTS:
            run = fused_layer(experts, dtype)
            peer, norm = theirs[f"{dtype} {experts}"]
            difference = abs(run().float().norm().item() / norm - 1)
            assert difference < 1e-2, f"{experts} experts of {dtype}: {difference}"
            ours = least(run, repeats, wait)
            word = str(dtype).removeprefix("torch.")
            yield f"layer of {experts} experts, {word}, of PyTorch's", ours, peer, peer / ours
    yield from products_of_int8(repeats)


def products_of_int8(repeats: int) -> Iterator[tuple[str, float, float, float]]:
    import torch_npu

    for n in (1024, 2048):
        a, b = (torch.randint(-128, 128, (n, n), dtype=torch.int8).npu() for _ in range(2))
        scale = torch.ones(n, device="npu")
        x, y = (torch.randn(n, n, device="npu") for _ in range(2))
        wait = torch.npu.synchronize
        of_float = least(lambda x=x, y=y: x @ y, repeats, wait)
        ours = least(
            lambda a=a, b=b, s=scale: torch_npu.npu_quant_matmul(a, b, s, output_dtype=torch.bfloat16),
            repeats,
            wait,
        )
        yield f"int8 {n} x {n} x {n}, of float32", ours, of_float, of_float / ours


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument(PLAIN, action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plain:
        plain(options.repeats)
        return
    import torch_npu  # noqa: F401

    print(f"{'':45}{'ms':>9}{'peer ms':>9}{'ratio':>7}")
    with torch.no_grad():
        for name, ours, peer, ratio in rows(options.repeats):
            print(f"{name:45}{ours:9.2f}{peer:9.2f}{ratio:7.2f}", flush=True)


if __name__ == "__main__":
    main()
