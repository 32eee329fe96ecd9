# SPDX-License-Identifier: Apache-2.0
"""Weak scaling of the main job: data parallel, the same samples per rank, on 1, 2, 4 and 8 virtual NPUs.

Usage: python bench/hccl/weak_scaling.py [--ranks 1 2 4 8] [--iters 12] [--micro-batch 8] [OPTION OF THE JOB ...]

Each row is one run of examples/pretrain_gpt/pretrain.py with MINDSPEED_TRACE on. Ranks share this machine's cores, so
the work of a core, not its time, stays the same when ranks are added: the whole job's tokens/s can at best stay where
it is once every core is busy; `of the first row` is that share. `in collectives` is the part of a rank's time in which a
collective was on one of its streams, waiting for other ranks included; `exposed`, the part in which it ran alone.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

JOB = Path(__file__).resolve().parents[2] / "examples" / "pretrain_gpt" / "pretrain.py"
WARM = 3  # steps that do not count
Spans = list[tuple[float, float]]


def union(spans: Iterable[tuple[float, float]]) -> Spans:
    """The same time without overlaps, sorted."""
    merged: Spans = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((begin, end))
    return merged


def length(spans: Spans) -> float:
    return sum(end - begin for begin, end in spans)


def shares(trace: Path) -> tuple[float, float]:
    """Of one rank's time between its first and last step: in collectives, and in collectives alone."""
    slices = [s for s in json.loads(trace.read_text(encoding="utf-8")) if s["ph"] == "X"]
    steps = [s["ts"] for s in slices if "Adam" in s["name"]]
    if len(steps) < 2:
        raise SystemExit(f"{trace} has no steps of Adam")
    first, last = min(steps), max(steps)

    def spans(*kinds: str) -> Spans:
        inside = (s for s in slices if s["cat"] in kinds and first <= s["ts"] < last)
        return union((s["ts"], min(s["ts"] + s["dur"], last)) for s in inside)

    talking, working = spans("collective"), spans("operator", "copy")
    alone = length(union([*talking, *working])) - length(working)
    return length(talking) / (last - first), alone / (last - first)


def measure(ranks: int, options: argparse.Namespace, folder: Path) -> str:
    out = folder / str(ranks)
    line = [sys.executable, str(JOB), "--out", str(out), "--npus", str(ranks), "--iters", str(options.iters)]
    line += ["--micro-batch", str(options.micro_batch), "--global-batch", str(ranks * options.micro_batch)]
    line += ["--eval-interval", "1000000", "--eval-batches", "1", "--save-interval", "1000000"]
    line += ["--sample-bytes", "0", *options.job]
    environment = os.environ | {"MINDSPEED_TRACE": str(folder / f"{ranks}.json")}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(line)}:\n{done.stderr[-4000:]}")
    records = [json.loads(text) for text in (out / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    rates = [r["tokens_per_second"] for r in records if "tokens_per_second" in r and r["iteration"] > WARM]
    names = [f"{ranks}.json"] if ranks == 1 else [f"{ranks}.rank{rank}.json" for rank in range(ranks)]
    found = [shares(folder / name) for name in names]
    options.base = options.base or statistics.median(rates)
    cores = len(os.sched_getaffinity(0))
    return (
        f"| {ranks} | {ranks / cores:g} | {statistics.median(rates):.0f} | {statistics.median(rates) / options.base:.2f} "
        f"| {statistics.mean(f[0] for f in found):.0%} | {statistics.mean(f[1] for f in found):.0%} |"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument(
        "--iters", type=int, default=12, help=f"more than {WARM}, which are warm-up (default 12)"
    )
    parser.add_argument("--micro-batch", type=int, default=8, help="samples of a rank in a step (default 8)")
    options, options.job = parser.parse_known_args(arguments)
    if options.iters <= WARM:
        parser.error(f"--iters is {options.iters}, wanted more than {WARM}")
    options.base = 0.0
    print("| ranks | ranks per core | tokens/s of all | of the first row | in collectives | exposed |")
    print("|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for ranks in options.ranks:
            print(measure(ranks, options, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
