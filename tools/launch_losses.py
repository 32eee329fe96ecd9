#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Run the original's launch commands whole at level 2 and without the features' flags at level 0, and compare their losses.

What is compared is the same model from the same random numbers. A flag that makes another one is left out of the whole
command, or the stripped one says the same in Megatron-LM's own words (ALIKE). Each command is two runs of up to eight ranks, 20 to
60 seconds each on two cores; logs stay in --out.

Usage: launch_losses.py ORIGINAL MEGATRON [--only WORD] [--out FOLDER]      checkouts of MindSpeed and of Megatron-LM core_v0.12.1
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

from launch_commands import Command, Options, commands, split

START = (
    "import runpy, sys, torch, mindspeed.megatron_adaptor; runpy.run_path({script!r}, run_name='__main__')"
)
LINE = re.compile(r"iteration +\d+/.*?lm loss: ([0-9.E+-]+).*?grad norm: ([0-9.]+)")
TIMEOUT_S = 900
NO_DROPOUT = "--attention-dropout 0 --hidden-dropout 0"
# Sizes that a script needs beyond the cut, whole and stripped.
ODD = "--num-attention-heads 10 --num-query-groups 5 --seq-length 129 --max-position-embeddings 129"
# Script: options left out of both, options of both (the last of a name counts), and of the stripped command alone.
ALIKE = {
    "deepseek_mla": ("", "", "--moe-shared-expert-intermediate-size 256"),
    "deepseek_moe.": (
        "--noop-layers",
        "",
        "--moe-shared-expert-intermediate-size 256 --expert-tensor-parallel-size 1 --expert-model-parallel-size 4"
        " --moe-token-dispatcher-type alltoall",
    ),
    "deepseek_moe_alltoall": ("--noop-layers", "", "--moe-shared-expert-intermediate-size 1024"),
    "hybrid.": ("", NO_DROPOUT, ""),
    "tp2d": ("", f"{NO_DROPOUT} --use-cpu-initialization", ""),
    "ring_attention": ("--noop-layers --alibi-fusion-attn-type", "--position-embedding-type rope", ""),
    "unaligned": ("--pipeline-num-transformer-layers", ODD, "--tensor-model-parallel-size 1"),
}


def known(megatron: Path) -> set[str]:
    """Options of Megatron's own parser."""
    code = (
        "import sys, torch, mindspeed.megatron_adaptor, argparse\nfrom megatron.training.arguments import add_megatron_arguments\n"
        "parser = add_megatron_arguments(argparse.ArgumentParser(allow_abbrev=False))\n"
        "print('options:', *(o for a in parser._actions for o in a.option_strings))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(megatron)}, capture_output=True, text=True, check=True
    )  # fmt: skip
    return set(done.stdout.rpartition("options:")[2].split())


def forms(command: Command, megatrons: set[str]) -> tuple[Options, Options]:
    """The options of a command whole and stripped."""
    left_out, both, stripped = next((v for k, v in ALIKE.items() if k in command.script), ("", "", ""))
    whole = [o for o in command.options if o[0] not in left_out.split()] + split(both.split())
    plain = [o for o in whole if o[0] in megatrons] + split(stripped.split())
    return [*whole, ["--optimization-level", "2"]], [*plain, ["--optimization-level", "0"]]


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def losses(command: Command, options: Options, megatron: Path, log: Path) -> list[tuple[float, float]]:
    """(loss, norm of the gradients) by step, as the log has them."""
    start = log.with_suffix(".py")
    start.write_text(START.format(script=str(megatron / "pretrain_gpt.py")), encoding="utf-8")
    env = os.environ | {"PYTHONPATH": str(megatron), "OMP_NUM_THREADS": "1"}
    env.pop("CUDA_DEVICE_MAX_CONNECTIONS", None)
    if command.connections:
        env["CUDA_DEVICE_MAX_CONNECTIONS"] = command.connections
    launcher = [
        "-m",
        "torch.distributed.run",
        "--nproc_per_node",
        str(command.ranks),
        "--master_port",
        free_port(),
    ]
    words = [word for option in options for word in option]
    with log.open("w", encoding="utf-8") as out:
        try:
            subprocess.run(
                [sys.executable, *launcher, str(start), *words], cwd=megatron, env=env, stdout=out,
                stderr=subprocess.STDOUT, timeout=TIMEOUT_S, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            out.write(f"no end after {TIMEOUT_S} s\n")
    return [(float(a), float(b)) for a, b in LINE.findall(log.read_text(encoding="utf-8", errors="replace"))]


def furthest(left: list[tuple[float, float]], right: list[tuple[float, float]], part: int) -> float:
    """The largest relative difference of losses (part 0) or norms (part 1)."""
    return max(abs(a[part] - b[part]) / max(abs(b[part]), 1e-30) for a, b in zip(left, right, strict=True))


def compared(command: Command, megatrons: set[str], megatron: Path, out: Path) -> str:
    name = f"{command.script.replace('/', '_')}.{command.number}"
    runs = [
        losses(command, options, megatron, out / f"{name}.{kind}.log")
        for kind, options in zip(("whole", "stripped"), forms(command, megatrons), strict=True)
    ]
    whole, stripped = runs
    if not whole or len(whole) != len(stripped):
        return f"whole {len(whole)} steps, stripped {len(stripped)}: nothing to compare"
    loss, norm = (furthest(whole, stripped, part) for part in (0, 1))
    return f"{len(whole)} steps: losses within {loss:.1e}, norms within {norm:.1e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("original", type=Path, metavar="ORIGINAL")
    parser.add_argument("megatron", type=Path, metavar="MEGATRON")
    parser.add_argument("--only", default="", metavar="WORD")
    parser.add_argument("--out", type=Path, default=Path("build/launch_commands"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    out, megatron = options.out.resolve(), options.megatron.resolve()
    megatrons, seen = known(megatron), set()
    for command in commands(options.original, options.only):
        if command.key() not in seen:
            seen.add(command.key())
            print(
                f"{command.script} ({command.number}): {compared(command, megatrons, megatron, out)}",
                flush=True,
            )


if __name__ == "__main__":
    main()
