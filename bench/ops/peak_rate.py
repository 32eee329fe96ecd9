"""How much of the cores' multiply-adds matrix products and attention reach.

The peak is a loop in registers (bench/exec/bench_peak.c), measured before each case, as a machine's clock moves; of
bfloat16 that of dot products where the CPU has them, else float32's. Causal attention counts half of its scores,
two products forward and five backward.

    cmake --build build/c && python bench/ops/peak_rate.py [--only forward]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import Prepared, best  # first: it keeps torch_npu out

import torch  # isort: skip
from bench_attention import attention  # isort: skip

PEAK = Path(__file__).resolve().parents[2] / "build" / "c" / "bench" / "bench_peak"


@dataclass(frozen=True, slots=True)
class Rate:
    name: str
    what: str
    dtype: torch.dtype
    flops: float
    operator: str
    args: tuple


def attentions(dtype: torch.dtype) -> Iterator[Rate]:
    heads = 8
    for batch, shared, seq, size in (
        (4, 8, 512, 64),
        (4, 8, 512, 128),
        (2, 8, 1024, 64),
        (2, 8, 1024, 128),
        (1, 2, 2048, 128),
    ):
        cases = attention(batch, heads, shared, seq, size, dtype, True)
        for case, products in zip(cases, (2, 5), strict=True):
            flops = products * 2 * batch * heads * seq * seq * size / 2
            yield Rate(case.name, case.what, dtype, flops, case.operator, case.args)


def products(dtype: torch.dtype) -> Iterator[Rate]:
    for m, n, k in (
        (256, 256, 256),
        (512, 512, 512),
        (1024, 1024, 1024),
        (2048, 2048, 2048),
        (2048, 512, 2048),
        (64, 4096, 1024),
    ):
        a, b, out = (
            torch.randn(m, k).to(dtype),
            torch.randn(n, k).to(dtype).t(),
            torch.empty(m, n, dtype=dtype),
        )
        yield Rate(
            "product", f"{m} x {n} x {k} {str(dtype)[6:]}", dtype, 2 * m * n * k, "aclnnMm", (a, b, out, 1)
        )


def peak(dtype: torch.dtype) -> float:
    """GFLOP/s of all cores."""
    done = subprocess.run([str(PEAK), "2", "0.3"], capture_output=True, text=True, check=True)
    rates = dict(line.split() for line in done.stdout.splitlines())
    return float(rates.get("bfloat16" if dtype == torch.bfloat16 else "float32", rates["float32"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each case")
    options = parser.parse_args()
    if not PEAK.is_file():
        raise SystemExit(f"{PEAK} is missing: cmake -S . -B build/c && cmake --build build/c")
    print(f"{'':10}{'shape':38}{'GFLOP/s':>9}{'peak':>8}{'share':>7}")
    for dtype in (torch.float32, torch.bfloat16):
        for case in (*products(dtype), *attentions(dtype)):
            if options.only in case.name:
                most = peak(dtype)
                rate = case.flops / best(Prepared(case.operator, case.args), options.seconds) / 1e3
                print(f"{case.name:10}{case.what:38}{rate:9.0f}{most:8.0f}{rate / most:7.2f}", flush=True)


if __name__ == "__main__":
    main()
