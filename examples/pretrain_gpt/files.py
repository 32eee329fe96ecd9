# SPDX-License-Identifier: Apache-2.0
"""Folders that appear complete or not at all, and lists that tell whether they are still complete.

A folder is written under a temporary name and renamed when all is on disk, so a process that is killed in the
middle leaves the previous one untouched. `contents.json` holds the size and checksum of every file.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from errors import UserError

CONTENTS = "contents.json"
_TEMPORARY = ".tmp-"


def _checksum(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            value = zlib.crc32(block, value)
    return value


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: Path, text: str) -> None:
    """Replace a small file: a reader sees the old text or the new one."""
    temporary = path.with_name(f"{_TEMPORARY}{path.name}")
    temporary.write_text(text, encoding="utf-8")
    _sync(temporary)
    os.replace(temporary, path)
    _sync(path.parent)


def _files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != CONTENTS)


def _describe(folder: Path) -> dict[str, list[int]]:
    return {
        str(path.relative_to(folder)): [path.stat().st_size, _checksum(path)] for path in _files_below(folder)
    }


def temporary_of(target: Path) -> Path:
    """Where new_folder builds it."""
    return target.with_name(f"{_TEMPORARY}{target.name}")


@contextmanager
def new_folder(target: Path, about: dict[str, Any]) -> Iterator[Path]:
    """A folder to fill; it becomes `target`, with `about` in its contents list, when the block ends well."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_of(target)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        for path in _files_below(temporary):
            _sync(path)
        (temporary / CONTENTS).write_text(
            json.dumps({"about": about, "files": _describe(temporary)}), encoding="utf-8"
        )
        _sync(temporary / CONTENTS)
        _sync(temporary)
        if target.exists():
            shutil.rmtree(target)
        os.rename(temporary, target)
        _sync(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """What a killed process was writing."""
    for path in folder.glob(f"{_TEMPORARY}*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def read_about(folder: Path) -> dict[str, Any] | None:
    """The `about` of a folder that new_folder made, None if there is none."""
    path = folder / CONTENTS
    if not path.is_file():
        return None
    try:
        about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["about"]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is damaged; remove {folder} to have it made again") from None
    return about


def check_folder(folder: Path, remedy: str) -> None:
    """Raise UserError if a file is missing, has another size or other contents than when it was written."""
    path = folder / CONTENTS
    if not path.is_file():
        raise UserError(f"{path} is missing; {remedy}")
    read_about(folder)
    files = json.loads(path.read_text(encoding="utf-8"))["files"]
    for name, (size, checksum) in files.items():
        file = folder / name
        if not file.is_file():
            raise UserError(f"{file} is missing; {remedy}")
        found = file.stat().st_size
        if found != size:
            raise UserError(
                f"{file} has {found} bytes, wanted {size}: it is {'truncated' if found < size else 'too long'}; {remedy}"
            )
        if _checksum(file) != checksum:
            raise UserError(f"{file} has other contents than when it was written; {remedy}")
