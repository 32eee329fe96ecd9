# SPDX-License-Identifier: Apache-2.0
"""A GPT training step next to what this machine's matrix products allow, in one run: limit, PyTorch, levels 0, 1, 2.

- limit: the step's matrix products alone, each shape at the better of PyTorch's rate (in a process without torch_npu)
  and the virtual NPU's; causal attention counts its products at the same rate.
- eager, compile: tests/support/plain_gpt.py on the CPU with scaled_dot_product_attention and the fused AdamW;
  parameters and optimizer have the row's dtype.
- level 0, 1, 2: megatron-core's GPT on a virtual NPU (bench/megatron_step.py), gradients and optimizer in float32.
  Level 2 has the flags of `--on`, by default none: its features trade memory for time.

Every row is a process of its own, the fastest of some steps. Rounds alternate the rows, so that a machine that slows
down slows all of them; of each row the fastest round counts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
sys.path.insert(0, str(Path(__file__).parent))

from megatron_step import DTYPES, SIZES

ROWS = ("products cpu", "products npu", "eager", "compile", "level 0", "level 1", "level 2")
Product = tuple[int, int, int, int]


def products(options: argparse.Namespace) -> list[Product]:
    """(how often, m, k, n) of a step: forward, gradient of the input, gradient of the weight."""
    tokens, hidden = options.seq * options.batch, options.hidden
    linear = [(hidden, 3 * hidden), (hidden, hidden), (hidden, 4 * hidden), (4 * hidden, hidden)]
    layers = [(options.layers, k, n) for k, n in linear] + [(1, hidden, options.vocab)]
    return [
        (count, *shape)
        for count, k, n in layers
        for shape in ((tokens, k, n), (tokens, n, k), (n, tokens, k))
    ]


def work(options: argparse.Namespace) -> tuple[int, int]:
    """Floating point operations of the linear layers and of causal attention: 2 products forward, 5 backward, half of each."""
    linear = sum(2 * count * m * k * n for count, m, k, n in products(options))
    return linear, options.layers * options.batch * 7 * options.seq**2 * options.hidden


def measure_products(options: argparse.Namespace, device: str) -> list[float]:
    """Seconds of each of products(), all its occurrences."""
    import torch

    dtype = getattr(torch, DTYPES[options.dtype])
    seconds = []
    for count, m, k, n in products(options):
        a = torch.randn(m, k).to(dtype).to(device)
        b = torch.randn(n, k).to(dtype).to(device).t()
        best = float("inf")
        for _ in range(9):
            begin = time.perf_counter()
            c = a @ b
            if device != "cpu":
                torch.npu.synchronize()
            best = min(best, time.perf_counter() - begin)
            del c
        seconds.append(count * best)
    return seconds


def measure_plain(options: argparse.Namespace, compiled: bool) -> float:
    """Seconds of the fastest step of the plain model on the CPU."""
    import torch
    from plain_gpt import PlainGPT, Shape

    torch.manual_seed(1)
    names = ("layers", "hidden", "heads", "vocab")
    shape = Shape(**{n: getattr(options, n) for n in names}, sequence=options.seq, sdpa=True)
    model = PlainGPT(shape).to(dtype=getattr(torch, DTYPES[options.dtype]))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    loss_of = torch.compile(model.loss) if compiled else model.loss
    text = torch.randint(0, options.vocab, (options.batch, options.seq + 1))
    seconds = []
    for _ in range(options.warmup + options.steps):
        begin = time.perf_counter()
        optimizer.zero_grad()
        loss_of(text[:, :-1], text[:, 1:]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seconds.append(time.perf_counter() - begin)
    return min(seconds[options.warmup :])


def measure(options: argparse.Namespace) -> Any:
    """Inside a subprocess."""
    import torch

    torch.set_num_threads(options.threads)
    if options.row.startswith("products"):
        return measure_products(options, options.row.split()[1])
    if options.row in ("eager", "compile"):
        return measure_plain(options, options.row == "compile")
    import megatron_step

    level = int(options.row.split()[1])
    more = {"level": level, "off": [], "on": options.on if level == 2 else [], "llama": False, "te": False}
    return megatron_step.measure(argparse.Namespace(**vars(options) | more))["seconds"]


def spawn(options: argparse.Namespace, row: str, dtype: str) -> Any:
    names = (*SIZES, "threads", "steps", "warmup")
    command = [sys.executable, __file__, "--row", row, "--dtype", dtype]
    command += [text for name in names for text in (f"--{name}", str(getattr(options, name)))]
    command += [text for name in options.on for text in ("--on", name)]
    threads = str(options.threads)
    environment = os.environ | {"MINDSPEED_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
    if row in ("products cpu", "eager", "compile"):
        environment["TORCH_DEVICE_BACKEND_AUTOLOAD"] = "0"  # PyTorch alone, without torch_npu
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{row} {dtype} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(options: argparse.Namespace, dtype: str) -> None:
    best: dict[str, Any] = {}
    for _ in range(options.rounds):
        for row in ROWS:
            found = spawn(options, row, dtype)
            if row.startswith("products"):
                best[row] = [min(pair) for pair in zip(found, best.get(row, found), strict=True)]
            else:
                best[row] = min(found, best.get(row, found))
    linear, attention = work(options)
    whole = 1 + attention / linear
    cpu, npu = best["products cpu"], best["products npu"]
    limit = whole * sum(min(pair) for pair in zip(cpu, npu, strict=True))
    rows = {
        "limit": limit,
        "  all by PyTorch": whole * sum(cpu),
        "  all by the virtual NPU": whole * sum(npu),
    }
    rows |= {row: best[row] for row in ROWS[2:]}
    tokens = options.batch * options.seq
    for name, seconds in rows.items():
        print(
            f"{dtype:6}{name:26}{seconds * 1e3:8.0f}{tokens / seconds:8.0f}{(linear + attention) / seconds / 1e9:9.0f}"
            f"{limit / seconds:10.2f}{best['compile'] / seconds:12.2f}{best['eager'] / seconds:10.2f}",
            flush=True,
        )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    counts = SIZES | {"steps": 5, "warmup": 2, "rounds": 2, "threads": len(os.sched_getaffinity(0))}
    for name, default in counts.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    parser.add_argument("--dtype", choices=tuple(DTYPES), help="one dtype; default: both")
    parser.add_argument("--on", action="append", default=[], help="a switch of level 2, as Python spells it")
    parser.add_argument("--row", choices=ROWS, help="measure one row in this process, print JSON")
    return parser.parse_args()


def main() -> None:
    options = parse()
    if options.row:
        print(json.dumps(measure(options)))
        return
    print(f"{[(name, getattr(options, name)) for name in SIZES]}, {options.threads} threads")
    print(f"{'':32}{'ms':>8}{'tok/s':>8}{'GFLOP/s':>9}{'of limit':>10}{'of compile':>12}{'of eager':>10}")
    for dtype in (options.dtype,) if options.dtype else tuple(DTYPES):
        compare(options, dtype)


if __name__ == "__main__":
    main()
