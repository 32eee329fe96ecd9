# SPDX-License-Identifier: Apache-2.0
"""What `import mindspeed.megatron_adaptor` adds to a program that imports torch and Megatron's GPT.

Usage: adaptor_import.py [--runs N] [--megatron DIR]

Processes with the line and without it, alternately; seconds from the end of `import torch` on, as torch is there in both. `--megatron` is a
checkout whose training loop is imported as well, as Megatron's scripts do.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import time
import torch
begin = time.perf_counter()
{line}
import megatron.core.models.gpt.gpt_model
{training}
print(time.perf_counter() - begin)
"""


def seconds(line: str, checkout: Path | None) -> float:
    training = "import megatron.training" if checkout else ""
    path = os.pathsep.join(filter(None, [str(checkout or ""), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(line=line, training=training)],
        env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise SystemExit(f"{line or 'without the line'}:\n{done.stderr[-2000:]}")
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=7, help="of each kind (default: %(default)s)")
    parser.add_argument("--megatron", type=Path, help="a checkout of Megatron-LM, for its training loop")
    options = parser.parse_args()
    pairs = [
        (seconds("import mindspeed.megatron_adaptor", options.megatron), seconds("", options.megatron))
        for _ in range(options.runs)
    ]
    with_it, without = (statistics.median(side) for side in zip(*pairs, strict=True))
    print(json.dumps({"with": with_it, "without": without, "added": with_it - without}))


if __name__ == "__main__":
    main()
