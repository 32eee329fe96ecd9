# SPDX-License-Identifier: Apache-2.0
"""Damaged and hostile checkpoint folders, loaded by the pretraining job's own functions, all in this one process.

`python damaged_checkpoints.py FOLDER SEED COUNT` prints one JSON object a case: its name, whether its list of contents was
made to fit (as an attacker would), and what loading it said.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import resource
import shutil
import signal
import socket
import sys
import traceback
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).parents[2] / "examples" / "pretrain_gpt"
SMALL = (
    "--layers 1 --hidden 16 --heads 2 --seq 16 --micro-batch 2 --global-batch 2 --eval-interval 9 --eval-batches 1 "
    "--save-interval 1 --warmup 1 --iters 2 --dtype fp32"
).split()
FILES = ("contents.json", ".metadata", "common.pt", "metadata.json", "__0_0.distcp", "__0_1.distcp")
NEWEST, OLDER = "iter_0000002", "iter_0000001"
# In place of any value of a list.
VALUES: list[Any] = [None, True, -1, 1.5, 10**30, "", "x", "../x", [], [1], {}, {"a": 1}]
NAMES = [
    "../x",
    "/etc/passwd",
    "a/../../b",
    "",
    ".",
    "a\x00b",
    "a\nb",
    "\udc80",
    "x" * 5000,
    "..",
    "a//b",
    "./a",
]
LATEST = [
    b"", b"\n", b"x", b"-2", b"+2", b"2.0", b"1e3", b"\xff\xfe", "\u00b2".encode(), b"9" * 6000, b"99", b"2 1", b"../2",
    b"\0", b"0x2", b"1_0", b" " * 5000,
]  # fmt: skip


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self._marker}",)


class Case:
    """A copy of the checkpoints to damage. `fits`: the list of contents is made anew afterwards."""

    def __init__(self, out: Path, good: Path, rng: random.Random, files: tuple[str, ...]) -> None:
        self.out, self.rng, self.files = out, rng, files
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(good, out)
        self.checkpoints = out / "checkpoints"
        self.folder = self.checkpoints / NEWEST
        self.marker = out.with_name("executed")

    def file(self, *, listed: bool = False) -> Path:
        return self.folder / self.rng.choice(FILES[1:] if listed else self.files)

    def make_list_fit(self) -> None:
        path = self.folder / "contents.json"
        found = json.loads(path.read_text())
        found["files"] = {
            one.name: [one.stat().st_size, zlib.crc32(one.read_bytes())]
            for one in self.folder.iterdir()
            if one.is_file() and one != path
        }
        path.write_text(json.dumps(_sealed(found)))

    def edit(self, path: Path, change: Callable[[Any], Any]) -> None:
        changed = change(json.loads(path.read_text()))
        path.write_text(json.dumps(_sealed(changed) if path.name == "contents.json" else changed))


def _sealed(found: dict[str, Any]) -> dict[str, Any]:
    """A list as who writes the files can make it."""
    import files

    return found | {"seal": files.seal_of(found["about"], found["files"])}


def truncated(case: Case) -> None:
    file = case.file()
    data = file.read_bytes()
    file.write_bytes(data[: case.rng.randrange(len(data))])


def flipped(case: Case) -> None:
    file = case.file(listed=True)
    data = bytearray(file.read_bytes())
    for _ in range(case.rng.choice((1, 1, 8, 64))):
        data[case.rng.randrange(len(data))] ^= case.rng.randrange(1, 256)
    file.write_bytes(data)


def swapped(case: Case) -> None:
    one, other = case.rng.sample(case.files, 2)
    a, b = (case.folder / one).read_bytes(), (case.folder / other).read_bytes()
    (case.folder / one).write_bytes(b)
    (case.folder / other).write_bytes(a)


def garbage(case: Case) -> None:
    case.file(listed=True).write_bytes(case.rng.randbytes(case.rng.choice((0, 1, 10, 1000))))


def removed(case: Case) -> None:
    case.file().unlink()


def added(case: Case) -> None:
    (case.folder / case.rng.choice(("__9_9.distcp", "x.pt", ".hidden"))).write_text("more")


def linked(case: Case) -> None:
    """The target has the very contents, is elsewhere, is missing, or is the link itself."""
    file = case.file()
    same = case.out.with_name("same")
    shutil.copy(file, same)
    target = case.rng.choice(
        (same, Path("/etc/hostname"), Path("nowhere"), file, Path(f"../{OLDER}/{file.name}"))
    )
    file.unlink()
    file.symlink_to(target)


def other_kind(case: Case) -> None:
    """A pipe, a socket, a device or a folder in place of a file."""
    path = case.rng.choice((case.file(), case.file(), case.folder, case.checkpoints / "latest"))
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    kind = case.rng.choice(("pipe", "folder", "socket", "device"))
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(os.path.relpath(path))
    elif kind == "device" and os.geteuid() == 0:
        os.mknod(path, 0o020666, os.makedev(1, 5))  # /dev/zero: it never ends
    elif path != case.folder:
        path.mkdir()


def folder_linked(case: Case) -> None:
    elsewhere = case.out.with_name("elsewhere")
    shutil.rmtree(elsewhere, ignore_errors=True)
    case.folder.rename(elsewhere)
    case.folder.symlink_to(elsewhere)


def bad_latest(case: Case) -> None:
    (case.checkpoints / "latest").write_bytes(case.rng.choice(LATEST))


def bad_json(case: Case) -> None:
    path = case.folder / case.rng.choice(("contents.json", "metadata.json"))
    path.write_bytes(
        case.rng.choice(
            (
                b"",
                b"null",
                b"[]",
                b"3",
                b'"x"',
                b"\xff\xfe",
                b"{",
                b"[" * 100_000,
                b"1" * 10_000,
                b'{"about": {}}',
                b"\0" * 64,
            )
        )
    )


def wrong_value(case: Case) -> None:
    """Somewhere in the list of contents."""
    value = case.rng.choice(VALUES)

    def change(found: Any) -> Any:
        part = case.rng.choice((found, found["about"], found["about"]["layout"], found["files"]))
        key = case.rng.choice(sorted(part.keys() - {"seal"}))
        if part is found["files"] and case.rng.random() < 0.5:
            part[key][case.rng.randrange(2)] = value
        else:
            part[key] = value
        return found

    case.edit(case.folder / "contents.json", change)


def hostile_name(case: Case) -> None:
    def change(found: Any) -> Any:
        found["files"][case.rng.choice(NAMES)] = [1, 1]
        return found

    case.edit(case.folder / "contents.json", change)


def payload(case: Case) -> None:
    """A pickle that runs a command, alone or within what should be there."""
    import torch

    name = case.rng.choice(("common.pt", ".metadata", "__0_0.distcp", "__0_1.distcp"))
    path, bad = case.folder / name, Payload(case.marker)
    if name == "common.pt":
        data = torch.load(path, weights_only=True)
        torch.save(bad if case.rng.random() < 0.5 else data | {"scheduler": bad}, path)
    elif name == ".metadata":
        data = pickle.loads(path.read_bytes())
        data.planner_data = bad
        path.write_bytes(
            pickle.dumps(bad if case.rng.random() < 0.5 else data, protocol=case.rng.choice((0, 2, 4)))
        )
    else:
        _into_object(case, path, bad)


def _into_object(case: Case, path: Path, bad: Payload) -> None:
    """Of all objects of a file of shards; their places are in the metadata, which says so."""
    import io

    import torch

    metadata_path = case.folder / ".metadata"
    metadata = pickle.loads(metadata_path.read_bytes())
    stream = io.BytesIO()
    torch.save(bad, stream)
    data = path.read_bytes()
    for index, place in metadata.storage_data.items():
        if (
            place.relative_path == path.name
            and "Bytes" in type(metadata.state_dict_metadata[index.fqn]).__name__
        ):
            place.offset, place.length = len(data), len(stream.getvalue())
    path.write_bytes(data + stream.getvalue())
    metadata_path.write_bytes(pickle.dumps(metadata))


def leads_out(case: Case) -> None:
    """The metadata names files outside of the folder."""
    path = case.folder / ".metadata"
    data = pickle.loads(path.read_bytes())
    where = case.rng.choice((f"../{OLDER}/__0_0.distcp", "/etc/hostname", "x/../../y"))
    for place in data.storage_data.values():
        place.relative_path = where
    path.write_bytes(pickle.dumps(data))


def other_metadata(case: Case) -> None:
    """Metadata of another form, or with fields of another type."""
    path = case.folder / ".metadata"
    data = pickle.loads(path.read_bytes())
    field = case.rng.choice(
        ("state_dict_metadata", "storage_data", "planner_data", "mcore_data", "version", "")
    )
    if field:
        setattr(data, field, case.rng.choice(VALUES))
    path.write_bytes(pickle.dumps(data if field else case.rng.choice(VALUES)))


def other_backend(case: Case) -> None:
    def change(found: Any) -> Any:
        found[case.rng.choice(sorted(found))] = case.rng.choice([*VALUES, "zarr", "torch", "../../x"])
        return found

    case.edit(case.folder / "metadata.json", change)


BROKEN = (
    truncated, flipped, swapped, garbage, removed, added, linked, other_kind, folder_linked, bad_latest, bad_json,
    wrong_value, hostile_name,
)  # fmt: skip
FITTING = (
    payload,
    payload,
    leads_out,
    other_metadata,
    other_backend,
    truncated,
    flipped,
    swapped,
    garbage,
    removed,
)


def prepare(root: Path) -> tuple[Any, Any, Path]:
    """(job, options, folder with two checkpoints) of a model that has trained two steps."""
    sys.path.insert(0, str(EXAMPLE))
    import mindspeed.megatron_adaptor  # noqa: F401

    # isort: split
    import corpus
    import dataset
    import model
    import torch
    import training
    from history import History
    from layout import layout_of
    from options import parse

    text = root / "text.txt"
    text.write_text("a line of a small text\n" * 4000)
    options = parse([*SMALL, "--data", str(text), "--out", str(root / "good")])
    device = model.initialize(options.seed, layout_of(options))
    corpus.prepare(options.data, options.out, options.held_out, options.seq)
    train, valid = dataset.build(options.out, options.seq, options.seed, 4, 2)
    job = model.build(options)
    record = History(options.out / "history.jsonl", 0, is_writer=True)
    training.Trainer(job, options, torch.device(device), record, 0).run(0, train, valid)
    return job, options, options.out


def attempt(job: Any, options: Any, out: Path) -> str:
    """What loading says: "loaded", a UserError's text, or the traceback of anything else."""
    import checkpoint
    from errors import UserError

    signal.alarm(60)  # a pipe that is opened for reading never returns
    try:
        checkpoint.load(job, out, options)
        return "loaded"
    except UserError as error:
        return f"UserError: {error}"
    except BaseException:
        return traceback.format_exc()
    finally:
        signal.alarm(0)


def digest(folder: Path) -> dict[str, int]:
    return {path.name: zlib.crc32(path.read_bytes()) for path in folder.iterdir()}


def damaged(job: Any, options: Any, good: Path, rng: random.Random, count: int) -> Iterator[dict[str, Any]]:
    out = good.with_name("damaged")
    for number in range(count):
        fits = number % 2 == 1
        case = Case(out, good, rng, FILES[1:] if fits else FILES)
        kinds = FITTING if fits else BROKEN
        damage = kinds[number // 2 % len(kinds)]
        before = digest(case.checkpoints / OLDER)
        damage(case)
        if fits:
            case.make_list_fit()
        said = attempt(job, options, out)
        lost = digest(case.checkpoints / OLDER) != before
        yield {
            "case": damage.__name__,
            "fits": fits,
            "said": said,
            "executed": case.marker.exists(),
            "lost": lost,
        }


def full_disk(job: Any, options: Any, good: Path) -> Iterator[dict[str, Any]]:
    """A save in which no file may grow beyond so many bytes."""
    import checkpoint
    from errors import UserError

    out = good.with_name("full")
    shutil.copytree(good, out)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    for most in (0, 1, 100, 500, 2000, 6000, 12000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, unlimited[1]))
        try:
            checkpoint.Saver(out, 2).save(job, 3, options)
            said = "saved"
        except UserError as error:
            said = f"UserError: {error}"
        except BaseException:
            said = traceback.format_exc()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        left = sorted(path.name for path in (out / "checkpoints").iterdir())
        again = attempt(job, options, out)
        yield {
            "case": "full_disk",
            "fits": False,
            "said": said,
            "executed": False,
            "lost": again != "loaded",
            "left": left,
        }


def pruned(job: Any, options: Any, good: Path) -> Iterator[dict[str, Any]]:
    """Which checkpoints are left after saves of a run: (resumed from, saved numbers)."""
    import checkpoint

    out = good.with_name("pruned")
    for resumed, numbers in ((2, (3,)), (2, (3, 4, 5)), (1, (5,)), (1, (2, 3, 4)), (0, (1, 2, 3))):
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(good, out)
        saver = checkpoint.Saver(out, resumed)
        for number in numbers:
            saver.save(job, number, options)
        left = sorted(int(path.name[5:]) for path in (out / "checkpoints").glob("iter_*"))
        yield {
            "case": "pruned",
            "resumed": resumed,
            "saved": numbers,
            "left": left,
            "said": attempt(job, options, out),
        }


def hostile_index(options: Any, good: Path) -> dict[str, Any]:
    """A cached index of the samples that holds a pickle."""
    import dataset
    import numpy
    from errors import UserError

    marker = good.with_name("executed")
    for path in (good / "index").glob("*document_index.npy"):
        numpy.save(path, numpy.array([Payload(marker)], dtype=object), allow_pickle=True)
    try:
        dataset.build(options.out, options.seq, options.seed, 4, 2)
        said = "loaded"
    except UserError as error:
        said = f"UserError: {error}"
    return {"case": "index", "said": said, "executed": marker.exists()}


def main(root: Path, seed: int, count: int) -> None:
    job, options, good = prepare(root)
    os.chdir(root)
    rng = random.Random(seed)
    untouched = {"case": "untouched", "said": attempt(job, options, good)}
    for found in (
        untouched,
        *pruned(job, options, good),
        *damaged(job, options, good, rng, count),
        *full_disk(job, options, good),
        hostile_index(options, good),
    ):
        print("CASE " + json.dumps(found), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
