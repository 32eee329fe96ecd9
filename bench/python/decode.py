# SPDX-License-Identifier: Apache-2.0
"""A step of decoding through torch_npu: attention of one query a sequence over keys in pages, and over dense ones.

Prints bytes of keys and values a second, and their ratios to what a copy between two tensors reads and writes, and to
what a sum reads.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
import torch_npu

PAGE = 128
# (batch, heads, key heads, keys, head size): grouped queries, one long sequence, as many key heads as heads
SIZES = ((8, 32, 8, 4096, 128), (1, 32, 8, 32768, 128), (16, 16, 16, 2048, 64))


def seconds(work: Callable[[], object], repeats: int = 9) -> float:
    work()
    found = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        torch.npu.synchronize()
        found.append(time.perf_counter() - begin)
    return min(found)


def copy_rate() -> float:
    """GB/s, read and written."""
    source = torch.ones(128 << 20, dtype=torch.uint8, device="npu")
    target = source.clone()
    return 2 * source.numel() / seconds(lambda: target.copy_(source)) / 1e9


def read_rate() -> float:
    """GB/s that a sum reads."""
    source = torch.ones(64 << 20, device="npu")
    return 4 * source.numel() / seconds(source.sum) / 1e9


def rates(size: tuple[int, int, int, int, int], dtype: torch.dtype) -> tuple[float, float]:
    """GB/s over pages, and dense."""
    batch, heads, key_heads, keys, head = size
    options = {
        "num_heads": heads,
        "num_key_value_heads": key_heads,
        "input_layout": "BNSD",
        "scale": head**-0.5,
    }
    attention = torch_npu.npu_fused_infer_attention_score
    query = torch.randn(batch, heads, 1, head, device="npu").to(dtype)
    dense = [torch.randn(batch, key_heads, keys, head, device="npu").to(dtype) for _ in range(2)]
    pages = [t.view(-1, PAGE, key_heads * head) for t in dense]
    table = torch.randperm(len(pages[0])).int().view(batch, -1).npu()
    lengths = [keys] * batch
    paged = {"block_table": table, "block_size": PAGE, "actual_seq_lengths_kv": lengths}
    size_bytes = 2 * dense[0].numel() * dense[0].element_size()
    times = (
        seconds(lambda: attention(query, *pages, **options, **paged)),
        seconds(lambda: attention(query, *dense, **options)),
    )
    return size_bytes / times[0] / 1e9, size_bytes / times[1] / 1e9


def main() -> None:
    copy, read = copy_rate(), read_rate()
    print(f"copy {copy:.1f} GB/s, sum {read:.1f} GB/s; batch, heads, key heads, keys, head size:")
    for dtype in (torch.bfloat16, torch.float32):
        for size in SIZES:
            paged, dense = rates(size, dtype)
            print(
                f"{str(dtype)[6:]:<10}{size!s:<28} paged {paged:6.1f} GB/s {paged / copy:.2f} {paged / read:.2f}   "
                f"dense {dense:6.1f} GB/s {dense / copy:.2f} {dense / read:.2f}"
            )


main()
