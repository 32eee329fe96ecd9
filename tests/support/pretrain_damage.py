# SPDX-License-Identifier: Apache-2.0
"""Damaged folders of a run, each resumed by the program itself: `python pretrain_damage.py FOLDER SEED [KIND:FILE ...]`.

Without pairs: every kind for every file. Prints a line of JSON for each: what was damaged, what the program said and
returned, the losses of the iterations that it then computed, and what is left. The first two lines are of whole folders.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pretrain_program as program

TO = 3  # iterations; the folder has the checkpoints of 1 and 2
HUGE = 1 << 40
KEPT = "checkpoints/iter_0000001"


def untouched(file: Path, rng: random.Random) -> None:
    """Goes on from the second checkpoint."""


def set_back(file: Path, rng: random.Random) -> None:
    """To the first one."""
    file.write_text("1\n")


def truncated(file: Path, rng: random.Random) -> None:
    os.truncate(file, rng.randrange(file.stat().st_size))


def emptied(file: Path, rng: random.Random) -> None:
    os.truncate(file, 0)


def flipped(file: Path, rng: random.Random) -> None:
    data = bytearray(file.read_bytes())
    bit = rng.randrange(8 * len(data))
    data[bit // 8] ^= 1 << bit % 8
    file.write_bytes(data)


def swapped(file: Path, rng: random.Random) -> None:
    """With another file of its folder, or with that of the other checkpoint."""
    others = [path for path in file.parent.iterdir() if path.is_file() and path != file]
    others = others or [file.parent / "iter_0000002" / "common.pt"]  # beside `latest` there is none
    older = file.parents[1] / "iter_0000001" / file.name
    other = older if older.is_file() and rng.random() < 0.5 else rng.choice(others)
    mine, theirs = file.read_bytes(), other.read_bytes()
    file.write_bytes(theirs)
    if other != older:
        other.write_bytes(mine)


def linked(file: Path, rng: random.Random) -> None:
    """To its contents elsewhere, to nothing, or to itself."""
    elsewhere = file.parents[1] / f"elsewhere-{file.name}"
    shutil.copy(file, elsewhere)
    file.unlink()
    file.symlink_to(rng.choice((elsewhere, Path("nowhere"), file)))


def huge(file: Path, rng: random.Random) -> None:
    os.truncate(file, HUGE)


def removed(file: Path, rng: random.Random) -> None:
    file.unlink()


KINDS: tuple[Callable[[Path, random.Random], None], ...] = (
    truncated, emptied, flipped, swapped, linked, huge, removed,
)  # fmt: skip


def digest(folder: Path) -> dict[str, int]:
    return {path.name: zlib.crc32(path.read_bytes()) for path in folder.iterdir()}


def leftovers(out: Path) -> list[str]:
    return sorted(str(path.relative_to(out)) for path in out.rglob(".tmp-*"))


def files_of(out: Path) -> list[str]:
    found = (str(path.relative_to(out)) for path in sorted(out.rglob("*")) if path.is_file())
    return [name for name in found if not name.startswith(KEPT) and not name.endswith((".png", ".txt"))]


class Folders:
    """A trained folder, and copies of it to damage."""

    def __init__(self, root: Path, seed: int) -> None:
        self._root, self._rng = root, random.Random(seed)
        self._good = root / "good"
        self._more = ("--data", str(program.write_text(root / "text.txt")), "--iters")
        done = program.run(self._good, *self._more, str(TO - 1), log=root / "log")
        assert done.code == 0, done.errors

    def names(self) -> list[str]:
        return files_of(self._good)

    def resume(self, kind: Callable[[Path, random.Random], None], name: str) -> dict[str, Any]:
        out = self._root / "damaged"
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(self._good, out)
        kind(out / name, self._rng)
        done = program.run(out, *self._more, str(TO), log=self._root / "log")
        resumed = re.search(r"Resuming from .*iter_(\d+)", done.out)
        first = int(resumed[1]) if resumed else 0
        return {
            "kind": kind.__name__,
            "file": name,
            "code": done.code,
            "errors": done.errors[-3000:],
            "resumed": first,
            "losses": {n: loss for n, loss in program.losses(out).items() if n > first}
            if done.code == 0
            else {},
            "lost": done.code != 0 and digest(out / KEPT) != digest(self._good / KEPT),
            "left": leftovers(out),
        }


def main(root: Path, seed: int, pairs: list[str]) -> None:
    program.load()
    folders = Folders(root, seed)
    by_name = {kind.__name__: kind for kind in KINDS}
    wanted = [pair.split(":") for pair in pairs] or [
        (kind, name) for kind in by_name for name in folders.names()
    ]
    for whole in (untouched, set_back):
        print(json.dumps(folders.resume(whole, "checkpoints/latest")), flush=True)
    for kind, name in wanted:
        if name.endswith("*"):
            name = next(one for one in folders.names() if one.startswith(name[:-1]))
        print(json.dumps(folders.resume(by_name[kind], name)), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
