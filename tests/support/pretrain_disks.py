# SPDX-License-Identifier: Apache-2.0
"""The pretraining program where its folder cannot be written, from the start or when it saves:
`python pretrain_disks.py FOLDER` prints a line of JSON for each way.

What a run leaves on a file system of its own is copied to where it can be looked at, without the file that filled it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import places
import pretrain_program as program

TO = 3
ROOM_KIB = 8 << 10  # for what a run writes beside checkpoints, and more than it asks for


def when(module: str, name: str, do: Callable[[], Any]) -> None:
    """In front of the next call of a function of the program."""
    where: Any = sys.modules[module]
    for part in name.split(".")[:-1]:
        where = getattr(where, part)
    last = name.split(".")[-1]
    real = getattr(where, last)

    def changed(*args: Any, **kwargs: Any) -> Any:
        do()
        return real(*args, **kwargs)

    setattr(where, last, changed)


SAVE = ("training", "checkpoint.Saver.save")


def digest(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): zlib.crc32(path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


class Ways:
    """Each begins with a folder of two iterations, `out`, and has its own way to spoil it."""

    def __init__(self, root: Path) -> None:
        self.root, self.good, self.out = root, root / "good", root / "out"
        self.more = ("--data", str(program.write_text(root / "text.txt")), "--iters")
        done = program.run(self.good, *self.more, str(TO - 1), log=root / "log")
        assert done.code == 0, done.errors
        self.checkpoint = sum(
            path.stat().st_size for path in (self.good / "checkpoints/iter_0000002").iterdir()
        )

    def run(self, name: str, before: Callable[[], None], *, small: bool, fresh: bool = False) -> None:
        """Then once more where nothing is spoilt."""
        for folder in (self.out, self.root / "after"):
            shutil.rmtree(folder, ignore_errors=True)
        if fresh:
            self.out.mkdir()
        else:
            shutil.copytree(self.good, self.out)
        done = program.run(
            self.out,
            *self.more,
            str(TO),
            log=self.root / "log",
            before=before,
            after=self._show if small else program.nothing,
        )
        left = self.root / "after" if small else self.out
        for folder, _, _ in os.walk(left):
            os.chmod(folder, 0o755)
        found, good = digest(left), digest(self.good)
        kept = [file for file in good if file.startswith("checkpoints/iter_") or file == "checkpoints/latest"]
        more = sorted(file for file in found if file.startswith("checkpoints/") and file not in good)
        again = program.run(left, *self.more, str(TO), log=self.root / "log")
        print(
            json.dumps(
                {
                    "way": name, "code": done.code, "errors": done.errors[-3000:], "more": more,
                    "lost": [] if fresh else [file for file in kept if found.get(file) != good[file]],
                    "temporary": [file for file in found if ".tmp-" in file],
                    "again": again.code, "said again": again.errors[-1000:], "resumed": "iter_0000002" in again.out,
                    "loss": program.losses(left).get(TO),
                }
            ),
            flush=True,
        )  # fmt: skip

    def _show(self) -> None:
        (self.out / "filler").unlink(missing_ok=True)
        shutil.copytree(self.out, self.root / "after")

    def read_only(self) -> None:
        places.enter()
        places.make_read_only(self.out)

    def others(self) -> None:
        for folder, _, _ in os.walk(self.out):
            os.chmod(folder, 0o555)
        places.obey_modes()

    def read_only_later(self) -> None:
        places.enter()
        when(*SAVE, partial(places.make_read_only, self.out))

    def full_later(self, left: int, where: tuple[str, str] = SAVE) -> None:
        places.enter()
        places.make_small(self.out, ROOM_KIB)
        when(*where, partial(places.fill, self.out, left))

    def small(self, kib: int) -> None:
        places.enter()
        places.make_small(self.out, kib)


def main(root: Path) -> None:
    program.load()
    ways = Ways(root)
    ways.run("read-only", ways.read_only, small=False)
    ways.run("of another user", ways.others, small=False)
    ways.run("read-only when it saves", ways.read_only_later, small=False)
    for part in (0.0, 0.6):
        name = f"full when it saves, but for {part} of a checkpoint"
        ways.run(name, partial(ways.full_later, int(part * ways.checkpoint)), small=True)
    ways.run("full when the curve is drawn", partial(ways.full_later, 0, ("history", "plot")), small=True)
    ways.run("too small for the data", partial(ways.small, 64), small=True, fresh=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
