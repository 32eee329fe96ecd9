"""Memory-bound operators beyond the caches: GB/s read and written, and the share of what copies of C's memcpy reach.

    python bench/ops/bandwidth.py [--mib 64] [--seconds 0.3]

As many threads copy with memcpy, each its part, as operators use. The copy is timed before each case, as the speed of
a shared machine's memory changes within minutes.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[n] / f) for n, f in ((1, ""), (2, "tests/support"))]
import torch  # noqa: E402
from aclnn import IntArray, Scalar  # noqa: E402
from common import Prepared, best  # noqa: E402

MIB = 2**20


def copier(pool: concurrent.futures.Executor, threads: int, size: int) -> Callable[[], None]:
    """A call that copies `size` bytes, a part in each thread; ctypes lets go of Python's lock meanwhile."""
    source, target = torch.ones(size, dtype=torch.uint8), torch.ones(size, dtype=torch.uint8)
    copy, part = ctypes.CDLL(None).memcpy, size // threads
    copy.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)

    def run() -> None:
        parts = [
            pool.submit(copy, target.data_ptr() + i * part, source.data_ptr() + i * part, part)
            for i in range(threads)
        ]
        for future in parts:
            future.result()

    return run


def cases(dtype: torch.dtype, size: int) -> list[tuple[str, str, tuple, Callable[[], object], int]]:
    """Name, operator, its arguments, the same by PyTorch, and bytes read and written; of tensors of `size` bytes."""
    x = torch.randn(size // dtype.itemsize).to(dtype)
    y, out = torch.randn(x.shape).to(dtype), torch.empty_like(x)
    other = torch.bfloat16 if dtype == torch.float32 else torch.float32
    cast, total = torch.empty(x.shape, dtype=other), torch.empty((), dtype=dtype)
    return [
        ("copy", "aclnnInplaceCopy", (out, x), lambda: out.copy_(x), 2 * size),
        ("add", "aclnnAdd", (x, y, Scalar(1), out), lambda: torch.add(x, y, out=out), 3 * size),
        ("add in place", "aclnnInplaceAdd", (out, y, Scalar(1)), lambda: out.add_(y), 3 * size),
        ("relu", "aclnnRelu", (x, out), lambda: torch.clamp_min(x, 0, out=out), 2 * size),
        (
            f"cast to {str(other)[6:]}", "aclnnCast", (x, other, cast), lambda: cast.copy_(x),
            size + cast.numel() * other.itemsize,
        ),
        ("sum", "aclnnReduceSum", (x, IntArray([]), False, dtype, total), x.sum, size),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mib", type=int, default=64, help="bytes of the operators' tensors")
    parser.add_argument("--seconds", type=float, default=0.3, help="for each measurement")
    options = parser.parse_args()
    threads = int(os.environ.get("MINDSPEED_NUM_THREADS") or os.cpu_count() or 1)
    torch.set_num_threads(threads)
    print(f"{threads} threads, {options.mib} MiB; GB/s read and written, and shares of memcpy's")
    print(f"{'operator':22}{'type':10}{'memcpy':>8}{'ours':>8}{'torch':>8}{'share':>7}{'torch':>7}")
    with torch.no_grad(), concurrent.futures.ThreadPoolExecutor(threads) as pool:
        copy = copier(pool, threads, options.mib * MIB)
        for dtype in (torch.float32, torch.bfloat16):
            for name, operator, args, reference, moved in cases(dtype, options.mib * MIB):
                limit = 2 * options.mib * MIB / best(copy, options.seconds) / 1000
                ours = moved / best(Prepared(operator, args), options.seconds) / 1000
                theirs = moved / best(reference, options.seconds) / 1000
                print(
                    f"{name:22}{str(dtype)[6:]:10}{limit:8.1f}{ours:8.1f}{theirs:8.1f}"
                    f"{ours / limit:7.2f}{theirs / limit:7.2f}", flush=True,
                )  # fmt: skip


if __name__ == "__main__":
    main()
