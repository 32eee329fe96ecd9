# SPDX-License-Identifier: Apache-2.0
"""Bus bandwidth and latency of the collectives next to gloo and Open MPI, in one run.

Usage: python bench/hccl/compare.py [--quick] [--seconds S] [--rounds N] [--out FOLDER]

Needs the C tests built (`make test-c` builds bench_collectives) and, for the peer, Open MPI with its compiler
(Debian: openmpi-bin libopenmpi-dev). A peer that is missing is left out, and said so. Writes collectives.csv and
collectives.png, and prints a table. The three take turns, a few sizes each, in several rounds of which the fastest
counts: noise of the machine hits all, and only adds.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
OURS = ROOT / "build" / "c" / "bench" / "bench_collectives"
COLLECTIVES = ("all_reduce", "all_gather", "reduce_scatter", "broadcast", "all_to_all")
RANKS = (2, 4, 8)
SIZES = tuple(2**power for power in (3, 5, 7, 9, 11, 13, 15, 17, 19, 20, 22, 24, 26, 28))
LARGE = 2**20
TURN = 5  # sizes a program measures before the next library's turn
TIMEOUT = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Seconds of one call; `waited` where each call is waited for before the next."""

    library: str
    collective: str
    ranks: int
    size: int
    seconds: float
    waited: float

    @property
    def bandwidth(self) -> float:
        """GB/s of the bus, as NCCL's tests define it: independent of the number of ranks for a perfect algorithm."""
        n = self.ranks
        factor = {"all_reduce": 2 * (n - 1) / n, "broadcast": 1.0}.get(self.collective, (n - 1) / n)
        return factor * self.size / self.seconds / 1e9


def build_mpi(folder: Path) -> Path | None:
    if shutil.which("mpicc") is None or shutil.which("mpirun") is None:
        print("Open MPI is left out: mpicc or mpirun is missing (Debian: openmpi-bin libopenmpi-dev)")
        return None
    program = folder / "peer_mpi"
    subprocess.run(["mpicc", "-O3", str(HERE / "peer_mpi.c"), "-o", str(program)], check=True)
    return program


def commands(
    mpi: Path | None, what: str, ranks: int, sizes: Sequence[int], seconds: float
) -> dict[str, list[str]]:
    bytes_each = [str(size) for size in sizes]
    gloo = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node",
        str(ranks),
        str(HERE / "peer_gloo.py"),
    ]
    found = {
        "hccl": [str(OURS), what, str(ranks), str(seconds), *bytes_each],
        "gloo": [*gloo, what, str(seconds), *bytes_each],
    }
    if mpi is not None:
        launch = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-np", str(ranks), str(mpi)]
        found["openmpi"] = [*launch, what, str(seconds), *bytes_each]
    return found


def run(library: str, command: list[str], what: str, ranks: int) -> list[Row]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=TIMEOUT, env=environment, check=False
    )
    lines = [line.split() for line in done.stdout.splitlines() if line[:1].isdigit()]
    if done.returncode != 0 or not lines:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr[-2000:]}")
    return [
        Row(
            library=library,
            collective=what,
            ranks=ranks,
            size=int(size),
            seconds=float(seconds),
            waited=float(waited),
        )
        for size, seconds, waited in lines
    ]


def fastest(rows: Sequence[Row]) -> list[Row]:
    """The least of several rounds, per library and size: the machine's noise only adds."""
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.library, row.size), []).append(row)
    return [
        replace(group[0], seconds=min(r.seconds for r in group), waited=min(r.waited for r in group))
        for group in groups.values()
    ]


def line(r: Row) -> str:
    return (
        f"{r.collective:15}{r.ranks:3}{r.size:11}  {r.library:8}{r.seconds * 1e6:12.1f} us  {r.waited * 1e6:12.1f} us"
        f"  {r.bandwidth:8.3f} GB/s"
    )


def geometric_mean(values: list[float]) -> float:
    return statistics.geometric_mean(values) if values else math.nan


def summary(rows: list[Row]) -> list[str]:
    """Ratios of a peer's time to ours, above 1 we are faster: queued, and waited for one by one."""
    ours = {(r.collective, r.ranks, r.size): r for r in rows if r.library == "hccl"}
    lines = [
        "| collective | ranks | peer | below 1 MiB | each waited for | 1 MiB and more | each waited for | least of these |",
        "|---|---|---|---|---|---|---|---|",
    ]
    peers = [r for r in rows if r.library != "hccl"]
    keys = sorted({(r.collective, str(r.ranks), r.library) for r in peers})
    for what, ranks, library in [
        *keys,
        *(("all", "all", name) for name in sorted({r.library for r in peers})),
    ]:
        cells = []
        least = math.inf
        for is_large in (False, True):
            some = [
                r
                for r in peers
                if r.library == library
                and what in ("all", r.collective)
                and ranks in ("all", str(r.ranks))
                and (r.size >= LARGE) == is_large
            ]
            mine = [ours[r.collective, r.ranks, r.size] for r in some]
            queued = [peer.seconds / own.seconds for peer, own in zip(some, mine, strict=True)]
            waited = [peer.waited / own.waited for peer, own in zip(some, mine, strict=True)]
            cells += [f"{geometric_mean(queued):.2f}", f"{geometric_mean(waited):.2f}"]
            least = min([least, *queued, *waited] if is_large else [least])
        lines.append(f"| {what} | {ranks} | {library} | {' | '.join(cells)} | {least:.2f} |")
    return lines


def plot(rows: list[Row], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    kinds = [c for c in COLLECTIVES if any(r.collective == c for r in rows)]
    ranks = sorted({r.ranks for r in rows})
    figure, axes = plt.subplots(
        len(kinds), len(ranks), figsize=(4.2 * len(ranks), 3 * len(kinds)), squeeze=False
    )
    for i, what in enumerate(kinds):
        for j, n in enumerate(ranks):
            axis = axes[i][j]
            for library in ("hccl", "openmpi", "gloo"):
                points = sorted(
                    (r.size, r.bandwidth)
                    for r in rows
                    if (r.collective, r.ranks, r.library) == (what, n, library)
                )
                if points:
                    axis.loglog(*zip(*points, strict=True), marker=".", label=library)
            axis.set_title(f"{what}, {n} ranks", fontsize=9)
            axis.grid(alpha=0.3)
            axis.set_xlabel("bytes", fontsize=8)
            axis.set_ylabel("bus bandwidth, GB/s", fontsize=8)
    axes[0][0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="all_reduce only, few sizes")
    parser.add_argument("--seconds", type=float, default=0.5, help="per size and library (default 0.5)")
    parser.add_argument(
        "--rounds", type=int, default=3, help="each library's turns, the fastest counts (default 3)"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench", help="folder for csv and png")
    options = parser.parse_args()
    if not OURS.is_file():
        print(f"{OURS.relative_to(ROOT)} is missing: build it with `make test-c`", file=sys.stderr)
        return 1
    options.out.mkdir(parents=True, exist_ok=True)
    kinds = COLLECTIVES[:1] if options.quick else COLLECTIVES
    sizes = SIZES[::4] if options.quick else SIZES
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        mpi = build_mpi(Path(folder))
        for what, ranks in itertools.product(kinds, RANKS):
            some = [size for size in sizes if what == "all_reduce" or size >= 4 * ranks]
            for turn in (some[i : i + TURN] for i in range(0, len(some), TURN)):
                found: list[Row] = []
                for _ in range(options.rounds):
                    for library, command in commands(mpi, what, ranks, turn, options.seconds).items():
                        found += run(library, command, what, ranks)
                best = fastest(found)
                rows += best
                print(*map(line, best), sep="\n", flush=True)
    with (options.out / "collectives.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["library", "collective", "ranks", "bytes", "seconds", "seconds_waited", "bus_gb_s"])
        writer.writerows(
            [r.library, r.collective, r.ranks, r.size, r.seconds, r.waited, r.bandwidth] for r in rows
        )
    plot(rows, options.out / "collectives.png")
    print("\n".join(summary(rows)))
    print(f"wrote {options.out}/collectives.csv and collectives.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
