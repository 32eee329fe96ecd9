# SPDX-License-Identifier: Apache-2.0
"""Small operators through torch_npu, for each way it has to launch them, next to PyTorch on the CPU.

Each row is a process of its own. Time is that of a call, waited for at the end of each round; CPU is processor time of
all threads of the process per call: what a core does for it, whoever does it. Best of rounds.

TASK_QUEUE_ENABLE: 0 launches in the calling thread (the default of the start-up hook on the host), 1 and 2 through
torch_npu's queue.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

CASES = ("add of 16", "add of 16 in place", "4x4 product", "sum of 16", "view and add")
SIDES = ("cpu", "0", "1", "2")


def measure(options: argparse.Namespace) -> dict[str, list[float]]:
    import torch

    device = "cpu" if options.side == "cpu" else "npu"
    x, y = (torch.ones(16, device=device) for _ in range(2))
    a = torch.ones(4, 4, device=device)
    calls = dict(
        zip(
            CASES,
            (
                lambda: torch.add(x, y),
                lambda: x.add_(y),
                lambda: torch.mm(a, a),
                lambda: x.sum(),
                lambda: x.view(4, 4)[1:] + a[1:],
            ),
            strict=True,
        )
    )
    wait = (lambda: None) if device == "cpu" else torch.npu.synchronize

    def one_round(call: Callable[[], object]) -> tuple[float, float]:
        began, cpu = time.perf_counter(), time.process_time()
        for _ in range(options.calls):
            call()
        wait()
        return (time.perf_counter() - began) / options.calls, (time.process_time() - cpu) / options.calls

    result = {}
    with torch.no_grad():
        for name, call in calls.items():
            rounds = [one_round(call) for _ in range(options.rounds)]
            result[name] = [min(r[0] for r in rounds), min(r[1] for r in rounds)]
    return result


def spawn(options: argparse.Namespace, side: str) -> dict[str, list[float]]:
    command = [sys.executable, __file__, "--side", side]
    command += ["--calls", str(options.calls), "--rounds", str(options.rounds)]
    own = {"TORCH_DEVICE_BACKEND_AUTOLOAD": "0"} if side == "cpu" else {"TASK_QUEUE_ENABLE": side}
    done = subprocess.run(command, env=os.environ | own, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{side} failed:\n{done.stderr[-3000:]}")
    result: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=20000, help="of a round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="the best counts (default: %(default)s)")
    parser.add_argument("--side", choices=SIDES, help="measure one in this process, print JSON")
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure(options)))
        return
    found = {side: spawn(options, side) for side in SIDES}
    names = {"cpu": "PyTorch CPU"} | {s: f"TASK_QUEUE_ENABLE={s}" for s in SIDES[1:]}
    print(f"{'microseconds of a call':24}" + "".join(f"{names[side]:>26}" for side in SIDES))
    print(f"{'':24}" + f"{'time':>14}{'CPU':>12}" * len(SIDES))
    for case in CASES:
        row = "".join(
            f"{found[side][case][0] * 1e6:14.2f}{found[side][case][1] * 1e6:12.2f}" for side in SIDES
        )
        print(f"{case:24}{row}")


if __name__ == "__main__":
    main()
