# SPDX-License-Identifier: Apache-2.0
"""Copies of ranks' states in files of shared memory (src/small/mindspeed_adaptor/kept_state.c): where, whose, and what is wrong.

    /dev/shm/mindspeed-UID/NAME/AGENT/LOCAL_RANK/rankOWNER.SLOT

AGENT is the process that starts ranks and starts them again, by its id and the time of its start: what another job has left
is never taken for this one's. LOCAL_RANK stands for the memory of one rank: no rank reads another one's folder.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from mindspeed.adaptor.native import function

_HEADER_BYTES = 4096
_FAULTS = {
    1: "it is no file of this user alone",
    2: "it is shorter than its header says",
    3: "it is not finished",
    4: "its header is damaged (checksum)",
    5: "its data are damaged (checksum)",
}
_NAME = re.compile(r"rank(\d+)\.(\d+)")
_U64 = ctypes.c_uint64


class Damaged(Exception):
    """A copy that is none, with its path and what is wrong with it."""


def _bytes_at(map: int, count: int) -> torch.Tensor:
    """[count] uint8 on the host, without a copy: as long as the mapping is there."""
    return torch.frombuffer((ctypes.c_uint8 * count).from_address(map + _HEADER_BYTES), dtype=torch.uint8)


def _checked(path: Path, result: int) -> None:
    if result < 0:
        raise OSError(-result, os.strerror(-result), str(path))
    if result > 0:
        raise Damaged(f"{path}: {_FAULTS[result]}")


class Slot:
    """A file that copies are written to, one after the other."""

    def __init__(self, path: Path, room: int) -> None:
        """`room`: the most bytes of a copy. OSError says that the file system is full (ENOSPC), or what else is wrong."""
        self.path, self.room = path, room
        found = ctypes.c_void_p()
        create = function("hc_kept_create", ctypes.c_char_p, _U64, ctypes.POINTER(ctypes.c_void_p))
        _checked(path, create(os.fsencode(path), room, ctypes.byref(found)))
        assert found.value is not None
        self._map = found.value
        self.data = _bytes_at(self._map, room)

    def begin(self) -> None:
        """The copy that is there is none any more."""
        function("hc_kept_begin", ctypes.c_void_p)(self._map)

    def seal(self, step: int, count: int) -> int:
        """The first `count` bytes of the data are the copy of that step; returns their checksum."""
        found = _U64()
        seal = function("hc_kept_seal", ctypes.c_void_p, _U64, _U64, ctypes.POINTER(_U64))
        seal(self._map, step, count, ctypes.byref(found))
        return found.value

    def close(self) -> None:
        del self.data
        function("hc_kept_close", ctypes.c_void_p, _U64)(self._map, self.room)


class Copy:
    """A whole copy that is read. `data`: [bytes] uint8, of the file itself."""

    def __init__(self, path: Path) -> None:
        """Damaged or OSError where it is not whole."""
        self.path = path
        found, room, count, step, sum = ctypes.c_void_p(), _U64(), _U64(), _U64(), _U64()
        numbers = [ctypes.POINTER(_U64)] * 4
        look = function("hc_kept_open", ctypes.c_char_p, ctypes.POINTER(ctypes.c_void_p), *numbers)
        pointers = [ctypes.byref(number) for number in (room, count, step, sum)]
        _checked(path, look(os.fsencode(path), ctypes.byref(found), *pointers))
        assert found.value is not None
        self._map, self._room = found.value, room.value
        self.step, self.checksum = step.value, sum.value
        self.data = _bytes_at(self._map, count.value)

    def close(self) -> None:
        del self.data
        function("hc_kept_close", ctypes.c_void_p, _U64)(self._map, self._room)


def _parent(pid: int) -> tuple[int, str]:
    """(id of the parent, time of the own start) by /proc."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[1]), fields[19]


def agent() -> str:
    """ "ID-START" of the process that starts the ranks again: the nearest ancestor without torchrun's variables, which it
    gives to all that it starts, also through a shell in between."""
    pid = os.getppid()
    while b"TORCHELASTIC_RUN_ID=" in Path(f"/proc/{pid}/environ").read_bytes():
        pid = _parent(pid)[0]
    return f"{pid}-{_parent(pid)[1]}"


def _lives(name: str) -> bool:
    pid, _, start = name.partition("-")
    try:
        return _parent(int(pid))[1] == start
    except (OSError, ValueError, IndexError):
        return False


def _private(folder: Path) -> Path:
    """The folder, made if it is not there; PermissionError if it is not this user's alone."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise PermissionError(
            f"{folder} is not a folder of this user alone (mode 700), so others could read or change the copies: remove it, "
            "or choose another --ttp-dump-dir"
        )
    return folder


def job_folder(place: str) -> Path:
    """`place`: as --ttp-dump-dir says, a name within /dev/shm or a path in another file system of memory. What jobs that are
    gone have left there is removed."""
    base = Path(place)
    if not base.is_absolute():
        base = _private(Path("/dev/shm") / f"mindspeed-{os.geteuid()}") / place
    _private(base)
    if function("hc_kept_in_memory", ctypes.c_char_p)(os.fsencode(base)) != 1:
        raise ValueError(
            f"--ttp-dump-dir {place}: {base} is no file system of memory (tmpfs); copies there would be checkpoints, which "
            "--save writes: give a name, which is one within /dev/shm, or a path in a tmpfs"
        )
    for left in base.iterdir():
        if re.fullmatch(r"\d+-\d+", left.name) and not _lives(left.name):
            shutil.rmtree(left, ignore_errors=True)
    return _private(base / agent())


@dataclass(frozen=True, slots=True)
class Folder:
    """What one rank keeps: the last `slots` copies of its own, and of other ranks."""

    path: Path
    slots: int

    def path_of(self, owner: int, slot: int) -> Path:
        return self.path / f"rank{owner}.{slot}"

    def copies(self) -> Iterator[tuple[int, Copy | str]]:
        """(owner, a whole copy, or what is wrong with one that is not)."""
        for path in sorted(self.path.iterdir()):
            match = _NAME.fullmatch(path.name)
            if match is None:
                continue
            try:
                yield int(match[1]), Copy(path)
            except (Damaged, OSError) as error:
                yield int(match[1]), str(error)

    def share(self, owner: int, other: int, slot: int) -> None:
        """The copy of `owner` is that of `other` as well: a second name of the same memory."""
        self.forget(other, slot)
        os.link(self.path_of(owner, slot), self.path_of(other, slot))

    def forget(self, owner: int, slot: int) -> None:
        self.path_of(owner, slot).unlink(missing_ok=True)

    def remove(self) -> None:
        """And the job's folder with the last rank of the host."""
        shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.path.parent.rmdir()


def own_folder(job: Path, local_rank: int, slots: int) -> Folder:
    return Folder(_private(job / str(local_rank)), slots)
