# SPDX-License-Identifier: Apache-2.0
"""A training step of megatron-core's GPT on a virtual NPU at the adaptor's levels, and with single features off.

Each row is a process of its own: build, warm up, then the fastest of some steps (forward, backward, clipping, Adam), by
the clock and in seconds of a core (with --threads 1 the figure to trust on a machine with other work), the peak of
device memory and VmHWM of the process. `--off use_flash_attn` adds a row of the highest level without the
feature, `--each` one for every feature of level 1.
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

SIZES = {"layers": 6, "hidden": 512, "heads": 8, "seq": 512, "batch": 4, "vocab": 8192, "experts": 0}
DTYPES = {"fp32": "float32", "bf16": "bfloat16"}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Inside a subprocess."""
    import torch
    from gpt_step import peak_memory_mib
    from mindspeed import megatron_adaptor

    switched = dict.fromkeys(options.off, False) | dict.fromkeys(options.on, True)
    megatron_adaptor.repatch({"optimization_level": options.level} | switched)
    import megatron_gpt

    size = megatron_gpt.Size(
        layers=options.layers,
        hidden=options.hidden,
        heads=options.heads,
        sequence=options.seq,
        vocab=options.vocab,
        batch=options.batch,
        llama=options.llama,
        experts=options.experts,
        te=options.te,
        dtype=getattr(torch, DTYPES[options.dtype]),
    )
    megatron_gpt.start()
    model, optimizer = megatron_gpt.trainer(megatron_gpt.build(size), size)
    seconds, cores, loss = [], [], 0.0
    for number, text in enumerate(megatron_gpt.batches(size, options.warmup + options.steps)):
        if number == options.warmup:
            torch.npu.reset_peak_memory_stats()
        begin, used = time.perf_counter(), time.process_time()
        loss = megatron_gpt.train_step(model, optimizer, text).item()
        seconds.append(time.perf_counter() - begin)
        cores.append(time.process_time() - used)
    megatron_gpt.stop()
    return {
        "seconds": min(seconds[options.warmup :]),
        "cores": min(cores[options.warmup :]),
        "device": torch.npu.max_memory_allocated() / 2**20,
        "process": peak_memory_mib(),
        "loss": loss,
    }


def spawn(options: argparse.Namespace, level: int, off: list[str]) -> dict[str, Any]:
    names = (*SIZES, "threads", "steps", "warmup", "dtype")
    command = [sys.executable, __file__, "--inside", "--level", str(level)]
    command += [text for name in names for text in (f"--{name}", str(getattr(options, name)))]
    command += ["--llama"] * options.llama + ["--te"] * options.te
    command += [text for name in off for text in ("--off", name)]
    command += [text for name in options.on if level for text in ("--on", name)]
    environment = os.environ | {"MINDSPEED_NUM_THREADS": str(options.threads)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"level {level} without {off} failed:\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def switches() -> list[str]:
    """Of the features of level 1 that are on by default."""
    from mindspeed.adaptor.discovery import all_features

    return [f.flags[0].dest for f in all_features() if f.level == 1 and f.flags and f.flags[0].negative]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    counts = SIZES | {"steps": 5, "warmup": 2, "threads": len(os.sched_getaffinity(0))}
    for name, default in counts.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    parser.add_argument("--dtype", choices=tuple(DTYPES), default="fp32")
    parser.add_argument("--llama", action="store_true", help="RMSNorm, SwiGLU, grouped queries, no biases")
    parser.add_argument(
        "--te", action="store_true", help="layers of Transformer Engine, or what stands for it"
    )
    parser.add_argument("--level", type=int, help="one level; default: 0 and 1")
    parser.add_argument("--off", action="append", default=[], help="a row without this feature's switch")
    parser.add_argument("--on", action="append", default=[], help="a switch that is off by default")
    parser.add_argument("--each", action="store_true", help="a row without each feature of level 1")
    parser.add_argument("--inside", action="store_true", help="measure in this process, print JSON")
    return parser.parse_args()


def main() -> None:
    options = parse()
    if options.inside:
        print(json.dumps(measure(options)))
        return
    levels = [0, 1] if options.level is None else [options.level]
    rows: list[tuple[str, int, list[str]]] = [(f"level {level}", level, []) for level in levels]
    off = [[name] for name in (switches() if options.each else options.off)]
    rows += [(f"level {levels[-1]} without {names[0]}", levels[-1], names) for names in off]
    tokens, first = options.batch * options.seq, None
    print(f"{options.dtype} {'llama' if options.llama else 'gpt'} {[getattr(options, n) for n in SIZES]}")
    print(
        f"{'':44}{'ms':>8}{'tok/s':>8}{'core ms':>9}{'ratio':>7}{'device MiB':>12}{'process MiB':>13}{'loss':>11}"
    )
    for title, level, names in rows:
        row = spawn(options, level, names)
        first = first or row
        print(
            f"{title:44}{row['seconds'] * 1e3:8.0f}{tokens / row['seconds']:8.0f}"
            f"{row['cores'] * 1e3:9.0f}{first['cores'] / row['cores']:7.2f}{row['device']:12.0f}{row['process']:13.0f}{row['loss']:11.6f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
