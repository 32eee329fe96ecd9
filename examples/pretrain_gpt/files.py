# SPDX-License-Identifier: Apache-2.0
"""Folders that appear complete or not at all, and lists that tell whether they are still complete.

A folder is written under a temporary name and renamed when all is on disk, so a process that is killed in the
middle leaves the previous one untouched. `contents.json` holds the size and checksum of every file, and its own.

Who can write into a folder can write such a list as well. So the list is read as doubtful data, and it shows damage,
not attacks: nothing outside of the folder is read for it, and what the files hold is read as data (docs/security.md).
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from errors import UserError

CONTENTS = "contents.json"
_TEMPORARY = ".tmp-"
_OLD = f"{_TEMPORARY}old-"
# Far above what a run writes into either.
SMALL_BYTES = 1 << 10
LIST_BYTES = 64 << 20


def _open_plain(path: Path) -> int:
    """Opened for reading; UserError if it is no plain file: a link may lead anywhere, a pipe never ends."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UserError(f"{path} is a symbolic link, wanted a plain file") from None
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    raise UserError(f"{path} is {kind_of(path)}, wanted a plain file")


def kind_of(path: Path) -> str:
    kinds = {
        stat.S_IFREG: "a plain file",
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFLNK: "a symbolic link",
    }
    return kinds.get(stat.S_IFMT(path.lstat().st_mode), "a device")


def free_space(path: Path) -> str:
    return f"{shutil.disk_usage(path).free >> 20} MiB are free there"


def is_there(path: Path) -> bool:
    """Also a link that leads nowhere."""
    return os.path.lexists(path)


def read_small(path: Path, most: int = SMALL_BYTES) -> str:
    """The text of a plain file of at most so many bytes; else UserError."""
    with os.fdopen(_open_plain(path), "rb") as file:
        try:
            size = os.fstat(file.fileno()).st_size
            data = file.read(most + 1) if size <= most else b""
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from None
    if max(size, len(data)) > most:
        raise UserError(f"{path} has {max(size, len(data))} bytes, more than the {most} that a run writes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{path} is no text: it is not UTF-8") from None


def _read_json(path: Path, most: int) -> Any:
    try:
        return json.loads(read_small(path, most))
    except (ValueError, RecursionError):
        raise UserError(f"{path} is damaged: it is no JSON") from None


def _checksum(path: Path) -> int:
    value = 0
    with os.fdopen(_open_plain(path), "rb") as file:
        while block := file.read(1 << 20):
            value = zlib.crc32(block, value)
    return value


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: Path, data: str | bytes) -> None:
    """Replace a file: a reader sees the old contents or the new. A link is replaced, what it leads to stays."""
    temporary = path.with_name(f"{_TEMPORARY}{path.name}")
    try:
        remove(temporary)
        with temporary.open("xb") as file:
            file.write(data.encode("utf-8") if isinstance(data, str) else data)
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    except OSError as error:
        with suppress(OSError):
            remove(temporary)
        raise UserError(f"{path} cannot be written: {error.strerror}") from None


def _files_below(folder: Path) -> list[Path]:
    """All but folders and the list."""
    return sorted(
        Path(where) / name
        for where, folders, names in os.walk(folder)
        for name in [*names, *(one for one in folders if (Path(where) / one).is_symlink())]
        if (Path(where) / name) != folder / CONTENTS
    )


def _describe(folder: Path) -> dict[str, list[int]]:
    return {
        str(path.relative_to(folder)): [path.stat().st_size, _checksum(path)] for path in _files_below(folder)
    }


def seal_of(about: dict[str, Any], files: dict[str, list[int]]) -> int:
    """Checksum of the list itself."""
    return zlib.crc32(json.dumps([about, files], sort_keys=True).encode())


def temporary_of(target: Path) -> Path:
    """Where new_folder builds it."""
    return target.with_name(f"{_TEMPORARY}{target.name}")


@contextmanager
def new_folder(target: Path, about: dict[str, Any]) -> Iterator[Path]:
    """A folder to fill; it becomes `target`, with `about` in its contents list, when the block ends well."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_of(target)
    remove(temporary)
    temporary.mkdir()
    try:
        yield temporary
        for path in _files_below(temporary):
            _sync(path)
        files = _describe(temporary)
        text = json.dumps({"about": about, "files": files, "seal": seal_of(about, files)})
        (temporary / CONTENTS).write_text(text, encoding="utf-8")
        _sync(temporary / CONTENTS)
        _sync(temporary)
        _put_in_place(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _put_in_place(temporary: Path, target: Path) -> None:
    """What was there goes when the new one is in its place, not before."""
    old = target.with_name(f"{_OLD}{target.name}")
    remove(old)
    with suppress(FileNotFoundError):
        os.rename(target, old)
    try:
        os.rename(temporary, target)
    except OSError:
        if is_there(old):
            os.rename(old, target)
        raise
    _sync(target.parent)
    remove(old)


def remove(path: Path) -> None:
    """A folder with all below, a file, or a link, never what it leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """What a killed process was writing. What it was about to replace, and has not, is put back."""
    for path in sorted(folder.glob(f"{_OLD}*")):
        target = folder / path.name.removeprefix(_OLD)
        if not is_there(target):
            os.rename(path, target)
    for path in folder.glob(f"{_TEMPORARY}*"):
        remove(path)


def _read_list(folder: Path, remedy: str) -> dict[str, Any]:
    """The contents list of a folder; UserError unless all of it has the form that new_folder writes."""
    path = folder / CONTENTS
    if not is_there(path):
        raise UserError(f"{path} is missing; {remedy}")
    try:
        found = _read_json(path, LIST_BYTES)
    except UserError as error:
        raise UserError(f"{error}; {remedy}") from None
    parts = found if isinstance(found, dict) else {}
    about, files = parts.get("about"), parts.get("files")
    if not isinstance(about, dict) or not isinstance(files, dict):
        raise UserError(f"{path} is damaged: it has no lists `about` and `files`; {remedy}")
    for name, entry in files.items():
        _check_name(path, name, remedy)
        if not (
            isinstance(entry, list) and len(entry) == 2 and all(type(n) is int and n >= 0 for n in entry)
        ):
            raise UserError(f"{path} is damaged: {name[:80]!r} has no size and checksum; {remedy}")
    if "seal" in parts and parts["seal"] != seal_of(about, files):  # lists had none once
        raise UserError(f"{path} is damaged: it is not what was written; {remedy}")
    return found


def _check_name(path: Path, name: str, remedy: str) -> None:
    parts = PurePosixPath(name).parts
    if (
        not parts
        or name != "/".join(parts)
        or name.startswith("/")
        or ".." in parts
        or not name.isprintable()
    ):
        raise UserError(f"{path} lists {name[:80]!r}, wanted names of files in the folder; {remedy}")


def read_about(folder: Path) -> dict[str, Any] | None:
    """The `about` of a folder that new_folder made, None if there is none."""
    if not is_there(folder / CONTENTS):
        return None
    about: dict[str, Any] = _read_list(folder, f"remove {folder} to have it made again")["about"]
    return about


def _check_file(file: Path, size: int, checksum: int) -> None:
    if not is_there(file):
        raise UserError(f"{file} is missing")
    found = file.lstat().st_size
    if stat.S_ISREG(file.lstat().st_mode) and found != size:
        raise UserError(
            f"{file} has {found} bytes, wanted {size}: it is {'truncated' if found < size else 'too long'}"
        )
    try:
        value = _checksum(file)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from None
    if value != checksum:
        raise UserError(f"{file} has other contents than when it was written")


def check_folder(folder: Path, remedy: str, needed: tuple[str, ...] = ()) -> dict[str, Any]:
    """The `about`. UserError if a file is missing, is not listed, has another size or other contents than when it was
    written, or is not a plain file in the folder."""
    if folder.is_symlink() or not folder.is_dir():
        what = f"is {kind_of(folder)}, wanted a folder" if is_there(folder) else "is missing"
        raise UserError(f"{folder} {what}; {remedy}")
    listed = _read_list(folder, remedy)
    for name in needed:
        if name not in listed["files"]:
            raise UserError(f"{folder / CONTENTS} does not list {name}; {remedy}")
    try:
        for name, (size, checksum) in listed["files"].items():
            inner = (folder / name).parent
            while inner != folder:
                if inner.is_symlink():
                    raise UserError(f"{inner} is a symbolic link, wanted a folder")
                inner = inner.parent
            _check_file(folder / name, size, checksum)
        for path in _files_below(folder):
            if path.relative_to(folder).as_posix() not in listed["files"]:
                raise UserError(f"{path} does not belong there: {CONTENTS} does not list it")
    except UserError as error:
        raise UserError(f"{error}; {remedy}") from None
    except OSError as error:
        raise UserError(f"{error.filename or folder} cannot be read: {error.strerror}; {remedy}") from None
    about: dict[str, Any] = listed["about"]
    return about
