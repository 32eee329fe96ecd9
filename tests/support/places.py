# SPDX-License-Identifier: Apache-2.0
"""Places where files cannot be written: read-only ones, small ones, ones of other users. They are seen by this process
alone, in mounts of its own, and end with it."""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_NEWNS, _NEWUSER = 0x20000, 0x10000000
_RDONLY, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 32, 4096, 16384, 1 << 18
_CAPABILITIES_3, _OVERRIDE = 0x20080522, 0b110  # of capset; to write, and to read, whatever modes say


def _must(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(source: Path | str, target: Path | str, kind: str, flags: int, data: str = "") -> None:
    texts = [os.fsencode(text) for text in (source, target, kind)]
    _must(_LIBC.mount(*texts, ctypes.c_ulong(flags), os.fsencode(data)), f"mount {target}")


def enter() -> None:
    """From here on mounts are this process's. OSError where neither root nor anyone else may have some."""
    user, group = os.getuid(), os.getgid()
    if _LIBC.unshare(_NEWNS) != 0:
        _must(_LIBC.unshare(_NEWNS | _NEWUSER), "unshare")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    _mount("none", "/", "", _REC | _PRIVATE)


def make_read_only(folder: Path) -> None:
    _mount(folder, folder, "", _BIND | _REC)
    _mount("none", folder, "", _BIND | _REMOUNT | _RDONLY)


def make_small(folder: Path, kib: int) -> None:
    """A file system with what is in the folder and room for so much more."""
    with tempfile.TemporaryDirectory() as kept:
        shutil.copytree(folder, kept, dirs_exist_ok=True)
        used = sum(-(-path.stat().st_size // 4096) * 4 + 4 for path in folder.rglob("*"))
        _mount("none", folder, "tmpfs", 0, f"size={used + kib}k,mode=700")
        shutil.copytree(kept, folder, dirs_exist_ok=True)


def fill(folder: Path, left: int = 0) -> Path:
    """The file that takes what room there is, but for so many bytes."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\1" * 4096)
        except OSError:
            file.truncate(max(0, file.tell() - left))
    return filler


def obey_modes() -> None:
    """As users other than root do."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_3, 0)
    sets = (ctypes.c_uint32 * 6)()
    _must(_LIBC.capget(header, sets), "capget")
    sets[0] &= ~_OVERRIDE
    _must(_LIBC.capset(header, sets), "capset")


def why_not() -> str | None:
    """Why there can be no such places here, for a test to be skipped."""
    pid = os.fork()
    if pid == 0:
        try:
            enter()
            with tempfile.TemporaryDirectory() as folder:
                make_small(Path(folder), 64)
                _LIBC.umount2(os.fsencode(folder), 2)
        except OSError as error:
            os._exit(error.errno or 1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return None if code == 0 else f"this machine allows no mounts of one's own: {os.strerror(code)}"
