# SPDX-License-Identifier: Apache-2.0
"""What torch_npu's queue costs a training step: TASK_QUEUE_ENABLE 0 (what the start-up hook sets) next to 1.

Usage: task_queue.py [--rounds N] [--ranks N] [--skip step|ranks]

The step is that of bench/gpt_step.py on one virtual NPU, in fp32 and bf16; the iteration is one of the main job
(examples/pretrain_gpt/pretrain.py), data parallel over --ranks virtual NPUs that share this machine's cores. Both settings
take turns, a process each, so that a machine that gets slower slows both; a row is the median of the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

BENCH = Path(__file__).resolve().parents[1]
JOB = BENCH.parent / "examples" / "pretrain_gpt" / "pretrain.py"
TOKENS = 4 * 512  # of the step
WARM = 3  # iterations that do not count


def run(line: list[str], queue: int, **variables: str) -> str:
    environment = os.environ | variables | {"TASK_QUEUE_ENABLE": str(queue)}
    done = subprocess.run(
        [sys.executable, *line], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(line)}:\n{done.stderr[-4000:]}")
    return done.stdout


def step(dtype: str, queue: int) -> float:
    """Tokens per second."""
    threads = str(len(os.sched_getaffinity(0)))
    line = [str(BENCH / "gpt_step.py"), "--side", "npu", "--dtype", dtype]
    out = run(line, queue, MINDSPEED_NUM_THREADS=threads, OMP_NUM_THREADS=threads)
    return TOKENS / float(json.loads(out.splitlines()[-1])["seconds"])


def iteration(ranks: int, queue: int) -> float:
    """Tokens per second of all ranks."""
    with tempfile.TemporaryDirectory() as folder:
        line = [str(JOB), "--out", folder, "--npus", str(ranks), "--iters", "9", "--micro-batch", "8"]
        line += ["--global-batch", str(8 * ranks), "--eval-interval", "1000000", "--eval-batches", "1"]
        run([*line, "--save-interval", "1000000", "--sample-bytes", "0"], queue)
        lines = (Path(folder) / "history.jsonl").read_text(encoding="utf-8").splitlines()
    records = [record for record in map(json.loads, lines) if "tokens_per_second" in record]
    return statistics.median(r["tokens_per_second"] for r in records if r["iteration"] > WARM)


def compare(name: str, rounds: int, measure: Callable[[int], float]) -> None:
    rates: dict[int, list[float]] = {0: [], 1: []}
    for _ in range(rounds):
        for queue in rates:
            rates[queue].append(measure(queue))
    without, with_queue = (statistics.median(rates[queue]) for queue in rates)
    print(f"{name:28}{without:10.0f}{with_queue:10.0f}{without / with_queue:8.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="default 3")
    parser.add_argument("--ranks", type=int, default=8, help="default 8")
    parser.add_argument("--skip", choices=("step", "ranks"), help="measure the other one only")
    options = parser.parse_args()
    print(f"{'tokens per second':28}{'queue 0':>10}{'queue 1':>10}{'ratio':>8}")
    if options.skip != "step":
        for dtype in ("fp32", "bf16"):
            compare(f"GPT step, {dtype}", options.rounds, lambda queue, dtype=dtype: step(dtype, queue))
    if options.skip != "ranks":
        name = f"iteration on {options.ranks} ranks"
        compare(name, options.rounds, lambda queue: iteration(options.ranks, queue))


if __name__ == "__main__":
    main()
