# SPDX-License-Identifier: Apache-2.0
"""A training step of a GPT: tokens per second and peak memory, virtual NPU next to PyTorch on the CPU.

Both sides run the same plain PyTorch model (tests/support/plain_gpt.py: forward, backward, clipping of gradients,
AdamW) in processes of their own, one after the other, with the same number of threads. Parameters, activations and
optimizer state have the dtype of the row. Peak memory is VmHWM of the process, frameworks included.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def peak_memory_mib() -> float:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status has no VmHWM")


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Inside a subprocess: median seconds of a step after warm-up, and what the process took."""
    import torch
    from plain_gpt import PlainGPT, Shape

    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    shape = Shape(
        layers=options.layers,
        hidden=options.hidden,
        heads=options.heads,
        sequence=options.seq,
        vocab=options.vocab,
    )
    device = torch.device("npu:0" if options.side == "npu" else "cpu")
    model = PlainGPT(shape).to(device=device, dtype=getattr(torch, DTYPES[options.dtype]))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    tokens = torch.randint(0, options.vocab, (options.batch, options.seq + 1)).to(device)

    def step() -> float:
        optimizer.zero_grad()
        loss = model.loss(tokens[:, :-1], tokens[:, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return float(loss.detach())  # waits for the device

    for _ in range(options.warmup):
        step()
    seconds = []
    for _ in range(options.steps):
        start = time.perf_counter()
        loss = step()
        seconds.append(time.perf_counter() - start)
    seconds.sort()
    return {"seconds": seconds[len(seconds) // 2], "memory": peak_memory_mib(), "loss": loss}


def spawn(options: argparse.Namespace, side: str, dtype: str) -> dict[str, float]:
    names = ("layers", "hidden", "heads", "seq", "batch", "vocab", "threads", "steps", "warmup")
    command = [sys.executable, __file__, "--side", side, "--dtype", dtype]
    command += [text for name in names for text in (f"--{name}", str(getattr(options, name)))]
    threads = str(options.threads)
    environment = os.environ | {"MINDSPEED_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
    if side == "cpu":
        environment["TORCH_DEVICE_BACKEND_AUTOLOAD"] = "0"  # PyTorch alone, without torch_npu's memory
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{side} {dtype} failed:\n{done.stderr[-3000:]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (
        ("layers", 6),
        ("hidden", 512),
        ("heads", 8),
        ("seq", 512),
        ("batch", 4),
        ("vocab", 8192),
        ("steps", 5),
        ("warmup", 2),
        ("threads", len(os.sched_getaffinity(0))),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    parser.add_argument("--dtype", choices=tuple(DTYPES), help="one row; default: fp32 and bf16")
    parser.add_argument("--side", choices=("npu", "cpu"), help="measure one side in this process, print JSON")
    return parser.parse_args()


def main() -> None:
    options = parse()
    if options.side:
        print(json.dumps(measure(options)))
        return
    print(
        f"GPT step: {options.layers} layers, hidden {options.hidden}, heads {options.heads}, seq {options.seq}, "
        f"micro-batch {options.batch}, vocab {options.vocab}, {options.threads} threads, median of {options.steps}"
    )
    print(
        f"{'dtype':6}{'NPU tok/s':>12}{'CPU tok/s':>12}{'ratio':>8}{'NPU MiB':>10}{'CPU MiB':>10}{'ratio':>8}{'loss NPU/CPU':>20}"
    )
    tokens = options.batch * options.seq
    for dtype in (options.dtype,) if options.dtype else ("fp32", "bf16"):
        npu, cpu = (spawn(options, side, dtype) for side in ("npu", "cpu"))
        print(
            f"{dtype:6}{tokens / npu['seconds']:12.0f}{tokens / cpu['seconds']:12.0f}{cpu['seconds'] / npu['seconds']:8.2f}"
            f"{npu['memory']:10.0f}{cpu['memory']:10.0f}{npu['memory'] / cpu['memory']:8.2f}"
            f"{npu['loss']:12.4f}{cpu['loss']:8.4f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
