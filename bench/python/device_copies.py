# SPDX-License-Identifier: Apache-2.0
"""Copies between virtual devices against the same elements copied contiguously on one device: us, best of rounds.

bench/python/device_copies.py [ELEMENTS]      float32, a square of about that many (default 1M)
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import torch
import torch_npu  # noqa: F401


def best(copy: Callable[[], object], rounds: int = 30) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        copy()
        torch.npu.synchronize(0)
        torch.npu.synchronize(1)
        times.append(time.perf_counter() - start)
    return min(times) * 1e6


def main() -> None:
    side = int(int(sys.argv[1] if len(sys.argv) > 1 else 1 << 20) ** 0.5)
    x, wide = torch.rand(side, side, device="npu:0"), torch.rand(side, 2 * side, device="npu:0")
    here, there = torch.empty(side, side, device="npu:0"), torch.empty(side, side, device="npu:1")
    half, other = torch.empty_like(there, dtype=torch.float16), torch.empty(side, 2 * side, device="npu:1")
    copies: dict[str, Callable[[], object]] = {
        "contiguous, one device": lambda: here.copy_(x),
        "transposed, one device": lambda: here.copy_(x.t()),
        "contiguous": lambda: there.copy_(x),
        "transposed (Transpose)": lambda: there.copy_(x.t()),
        "part of rows (Slice)": lambda: there.copy_(wide[:, 5 : 5 + side]),
        "every second column (AsStrided)": lambda: there.copy_(wide[:, ::2]),
        "one row repeated (BroadcastTo)": lambda: there.copy_(x[:1].expand(side, side)),
        "into every second column (ViewCopy)": lambda: other[:, ::2].copy_(x),
        "to float16 (Cast)": lambda: half.copy_(x),
    }
    for name, copy in copies.items():
        print(f"{name:36} {best(copy):9.1f}")


if __name__ == "__main__":
    main()
