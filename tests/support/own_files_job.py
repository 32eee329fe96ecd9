# SPDX-License-Identifier: Apache-2.0
"""MindSpeed's own files in places where they cannot be written: `python own_files_job.py WHAT HOW FOLDER`. Prints what was
said and what is left, as JSON."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import places


def trace(folder: Path, spoil: Callable[[], None]) -> str:
    """As MINDSPEED_TRACE names it: thousands of tasks, a part of them behind the place's end."""
    from mindspeed.options import _library

    acl = _library()
    acl.aclGetRecentErrMsg.restype = ctypes.c_char_p
    if acl.aclInit(None) != 0:
        return str(acl.aclGetRecentErrMsg().decode())
    assert acl.aclrtSetDevice(0) == 0
    there = ctypes.c_void_p()
    assert acl.aclrtMalloc(ctypes.byref(there), ctypes.c_size_t(64), 0) == 0
    for number in range(4000):
        if number == 1000:
            spoil()
        assert acl.aclrtMemset(there, ctypes.c_size_t(64), 0, ctypes.c_size_t(64)) == 0
    acl.aclFinalize()
    return "all tasks ran"


def dump(folder: Path, spoil: Callable[[], None]) -> str:
    from mindspeed.dumping import records

    spoil()
    one = records.Record(
        name="decoder",
        direction="forward",
        call=0,
        index=0,
        dtype="float32",
        shape=(1,),
        statistics=(0.0,) * 5,
    )
    try:
        records.write(folder / "step000001" / "rank00000.jsonl", {"step": 1}, [one] * 5000)
    except OSError as error:
        return str(error)
    return "written"


def dump_folder(folder: Path, spoil: Callable[[], None]) -> str:
    """Before a run begins."""
    from mindspeed.features.tooling import npu_datadump

    spoil()
    given = argparse.Namespace(npu_datadump_dir=str(folder / "new" / "dump"))
    return "; ".join(npu_datadump.check(given))


def plan(folder: Path, spoil: Callable[[], None]) -> str:
    """In place of an earlier one."""
    from mindspeed.cli import plan as command
    from mindspeed.cli.environment import UsageError

    spoil()
    try:
        command.write("new" * 100_000, str(folder / "plan.html"))
    except UsageError as error:
        return str(error)
    return "written"


def merge(folder: Path, spoil: Callable[[], None]) -> str:
    from mindspeed.cli import main

    spoil()
    with contextlib.redirect_stderr(io.StringIO()) as said:
        main.main(
            [
                "trace",
                "merge",
                str(folder / "one.json"),
                str(folder / "two.json"),
                "-o",
                str(folder / "all.json"),
            ]
        )
    return said.getvalue()


def main(what: str, how: str, folder: Path) -> None:
    places.enter()
    if how == "small":
        places.make_small(folder, 2048)
    else:
        places.make_read_only(folder)

    def spoil() -> None:
        if how == "small":
            places.fill(folder, 8192)

    said = {"trace": trace, "dump": dump, "dump folder": dump_folder, "plan": plan, "merge": merge}[what](
        folder, spoil
    )
    left = {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8", errors="replace")[:2_000_000]
        for path in folder.rglob("*")
        if path.is_file() and path.name != "filler"
    }
    print(json.dumps({"said": said, "left": left}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
