# SPDX-License-Identifier: Apache-2.0
"""What the start-up hook costs an interpreter that imports no framework.

Usage: startup.py [--runs N]     with the python of an environment that has the wheel installed

Starts the interpreter with the hook, and with an empty module of its name in front of it, alternately, and
compares processor time, which other work on the machine disturbs less than elapsed time.
"""

from __future__ import annotations

import argparse
import compileall
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def start(environment: dict[str, str]) -> float:
    """Milliseconds of processor time of one interpreter that does nothing."""
    child = subprocess.Popen([sys.executable, "-c", "pass"], env=environment)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit("the interpreter does not start")
    return (usage.ru_utime + usage.ru_stime) * 1e3


def import_time() -> float:
    """Microseconds of `import _mindspeed_hook` as the interpreter counts them; median of 21 runs."""
    times = []
    for _ in range(21):
        command = [sys.executable, "-X", "importtime", "-c", "pass"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = re.search(r"\|\s+(\d+) \|\s+_mindspeed_hook$", done.stderr, re.MULTILINE)
        if found is None:
            sys.exit("the hook is not installed in this environment")
        times.append(int(found.group(1)))
    return statistics.median(times)


def per_import(runs: int) -> float:
    """Nanoseconds that the finder adds to every import that is not cached."""
    finder = next(f for f in sys.meta_path if type(f).__module__ == "_mindspeed_hook")
    began = time.perf_counter_ns()
    for _ in range(runs):
        finder.find_spec("some.module", None)
    return (time.perf_counter_ns() - began) / runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100, help="starts of each kind (default: %(default)s)")
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "_mindspeed_hook.py").touch()
        compileall.compile_dir(folder, quiet=1)
        base = dict(os.environ)
        without = base | {"PYTHONPATH": folder}
        # The same number of path entries on both sides: an empty folder has its price as well.
        Path(folder, "empty").mkdir()
        with_hook = base | {"PYTHONPATH": str(Path(folder, "empty"))}
        start(with_hook)
        start(without)
        pairs = [(start(with_hook), start(without)) for _ in range(runs)]
    on, off = statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs)
    print(f"interpreter start with the hook      {on:8.2f} ms   (median of {runs})")
    print(f"interpreter start without it         {off:8.2f} ms")
    difference = statistics.median(a - b for a, b in pairs)
    print(f"difference                           {difference:8.2f} ms   (median of pairs)")
    print(f"import of the hook, -X importtime    {import_time() / 1e3:8.3f} ms   (median of 21)")
    print(f"each further import that is looked up{per_import(100_000):8.0f} ns")


if __name__ == "__main__":
    main()
