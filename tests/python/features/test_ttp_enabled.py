# SPDX-License-Identifier: Apache-2.0
"""--ttp-enabled: a rank is killed, all go on behind a step from copies in memory, and every loss and every number that is
drawn is that of a run that nothing happened to."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import uuid
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torchrun
from mindspeed.features.tooling import _kept_files as files
from mindspeed.features.tooling._kept_peers import newest_of_all
from mindspeed.features.tooling.ttp_enabled import FEATURE, check
from parallel_layouts import Layout

JOB = Path(__file__).parents[2] / "support" / "recovery_job.py"
STEPS, TIMEOUT_S = 10, 400
FOUR = {"world": 4, "model": "dense", "layers": 2}
LAYOUTS = {
    "dp4": Layout(**FOUR),
    "dp4-distributed": Layout(**FOUR, optimizer="distributed", dtype="bf16"),
    "tp2-dp2": Layout(**FOUR, tp=2),
    "tp2-dp2-overlap": Layout(**FOUR, tp=2, optimizer="overlap"),
    "tp2-dp2-bf16": Layout(**FOUR, tp=2, dtype="bf16"),
    "pp2-dp2": Layout(**FOUR, pp=2, optimizer="distributed"),
    "tp4": Layout(**FOUR, tp=4),
    "ep2-dp4": Layout(world=4, model="moe", layers=2, ep=2, optimizer="distributed"),
    "pp2-vp2": Layout(world=4, model="dense", layers=4, pp=2, vp=2, overlap_p2p=True),
}
# Who keeps rank 1's copy: the next of its data-parallel group, or of all.
PEERS = {"tp2-dp2": 3, "tp2-dp2-overlap": 3, "tp2-dp2-bf16": 3, "pp2-dp2": 0, "pp2-vp2": 0}


# ---- files ----


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path("/dev/shm") / f"mindspeed-test-{uuid.uuid4().hex}"
    path.mkdir(mode=0o700)
    yield path
    shutil.rmtree(path)


def written(path: Path, *, step: int = 6, count: int = 100_003) -> torch.Tensor:
    data = torch.arange(count, dtype=torch.int64).mul(37).to(torch.uint8)
    slot = files.Slot(path, count + 5000)
    slot.begin()
    slot.data[:count] = data
    slot.seal(step, count)
    slot.close()
    return data


def test_a_copy_comes_back(folder: Path) -> None:
    data = written(folder / "rank1.0")
    copy = files.Copy(folder / "rank1.0")
    assert copy.step == 6 and torch.equal(copy.data, data)
    assert (folder / "rank1.0").stat().st_mode & 0o777 == 0o600
    copy.close()


@pytest.mark.parametrize("count", [1, 7, 63, 64, 65, 4096 * 3 + 1])
def test_every_byte_counts(folder: Path, count: int) -> None:
    """Each byte in turn is another one: another checksum each time, and none is taken for whole."""
    path = folder / "rank0.1"
    written(path, count=count)
    whole = files.Copy(path)
    seen = {whole.checksum}
    whole.close()
    for at in range(0, count, max(count // 50, 1)):
        slot = files.Slot(path, count + 5000)
        slot.data[at] += 1
        seen.add(slot.seal(6, count))
        slot.data[at] -= 1
        slot.close()
    assert len(seen) == 1 + len(range(0, count, max(count // 50, 1)))


def spoil_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(8)
        file.write(b"\7")


def spoil_data(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096 + 50_000)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def cut(path: Path) -> None:
    os.truncate(path, 4096 + 60_000)


def cut_to_nothing(path: Path) -> None:
    os.truncate(path, 100)


def wipe(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def open_to_others(path: Path) -> None:
    path.chmod(0o640)


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "header": (spoil_header, "its header is damaged (checksum)"),
    "data": (spoil_data, "its data are damaged (checksum)"),
    "cut": (cut, "it is shorter than its header says"),
    "empty": (cut_to_nothing, "it is shorter than its header says"),
    "unfinished": (wipe, "it is not finished"),
    "mode": (open_to_others, "it is no file of this user alone"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_copies_are_none(folder: Path, name: str) -> None:
    path = folder / "rank3.0"
    written(path)
    spoil, what = DAMAGE[name]
    spoil(path)
    with pytest.raises(files.Damaged) as error:
        files.Copy(path)
    assert str(error.value) == f"{path}: {what}"
    ((owner, text),) = files.Folder(folder, 2).copies()
    assert owner == 3 and text == str(error.value)


def test_a_link_is_not_followed(folder: Path) -> None:
    written(folder / "other")
    (folder / "rank0.0").symlink_to(folder / "other")
    with pytest.raises(OSError) as error:
        files.Copy(folder / "rank0.0")
    assert error.value.errno == errno.ELOOP
    with pytest.raises(OSError):
        files.Slot(folder / "rank0.0", 100)


def test_a_copy_of_two_ranks(folder: Path) -> None:
    """Deleting or writing one of them leaves the other."""
    kept = files.Folder(folder, 2)
    data = written(kept.path_of(1, 0))
    kept.share(1, 0, 0)
    assert kept.path_of(0, 0).stat().st_ino == kept.path_of(1, 0).stat().st_ino
    written(kept.path_of(0, 0), step=8, count=10)
    copy = files.Copy(kept.path_of(1, 0))
    assert copy.step == 6 and torch.equal(copy.data, data)
    copy.close()
    kept.forget(1, 0)
    assert [owner for owner, _ in kept.copies()] == [0]


def test_more_than_there_is(folder: Path) -> None:
    with pytest.raises(OSError) as error:
        files.Slot(folder / "rank0.0", 1 << 55)
    assert error.value.errno in (errno.ENOSPC, errno.EFBIG, errno.ENOMEM)


def test_folders_of_jobs(folder: Path, tmp_path: Path) -> None:
    """Those of agents that are gone are removed; on a disk, or open to others, none is made."""
    gone, alive = folder / "1234567-8", folder / files.agent()
    for path in (gone, alive):
        path.mkdir(mode=0o700)
    assert files.job_folder(str(folder)) == alive and not gone.exists()
    folder.chmod(0o755)
    with pytest.raises(PermissionError, match="is not a folder of this user alone"):
        files.job_folder(str(folder))
    folder.chmod(0o700)


def test_a_folder_on_a_disk(tmp_path: Path) -> None:
    place = Path("/var/tmp") / f"mindspeed-test-{uuid.uuid4().hex}"
    place.mkdir(mode=0o700)
    try:
        with pytest.raises(ValueError, match="is no file system of memory"):
            files.job_folder(str(place))
    finally:
        shutil.rmtree(place)


# ---- which step ----


def test_the_newest_step_that_all_have() -> None:
    ring = [[(rank, 4), ((rank - 1) % 3, 4), (rank, 6), ((rank - 1) % 3, 6)] for rank in range(3)]
    assert newest_of_all(ring, 3) == (6, [0, 1, 2])
    lost = [ring[0], [], ring[2]]  # rank 1's memory: its own copy, and that of rank 0
    assert newest_of_all(lost, 3) == (6, [0, 2, 2])
    late = [ring[0], [(1, 4), (0, 4)], [(2, 4), (1, 4), (2, 6)]]  # nobody has step 6 of rank 1
    assert newest_of_all(late, 3) == (4, [0, 1, 2])
    assert newest_of_all([[], [], ring[2]], 3) is None
    assert newest_of_all([[], [], []], 3) is None


# ---- arguments ----


def problems(**given: Any) -> list[str]:
    return list(check(Namespace(**given)))


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"ttp_server_ip": "10.0.0.1"}, "--ttp-server-ip 10.0.0.1 would have no effect, as torchrun watches the ranks"),
        ({"ttp_heartbeat_interval_ms": 5}, "--ttp-heartbeat-interval-ms 5 would have no effect, as torchrun sees"),
        ({"ttp_dump_timeout_seconds": 5}, "--ttp-dump-timeout-seconds 5 would have no effect, as copies are made"),
        ({"ttp_copy_interval": 0}, "--ttp-copy-interval is 0, wanted 1 or more"),
        ({"ttp_max_dump_ckpt_to_keep": 0}, "--ttp-max-dump-ckpt-to-keep is 0, wanted 1 or more"),
        ({"ttp_save_rng": False}, "ttp_save_rng is False, and without it the job would go on with other losses"),
        ({"ttp_dump_dir": "a/b"}, "--ttp-dump-dir a/b is neither a name"),
        ({"ttp_dump_dir": "/dev/shm/../x"}, "is neither a name"),
        ({"use_torch_fsdp2": True}, "leave out --use-torch-fsdp2"),
        ({"fp8": "e4m3"}, "--fp8-recipe delayed"),
    ],
)  # fmt: skip
def test_what_cannot_be(given: dict[str, Any], what: str) -> None:
    (sentence,) = problems(**given)
    assert what in sentence


def test_defaults_are_those_of_the_original() -> None:
    given = {flag.dest: flag.default for flag in FEATURE.flags[1:]}
    assert problems(**given) == []
    assert given == {
        "ttp_copy_interval": 10, "ttp_dump_dir": "ttp_dump", "ttp_max_dump_ckpt_to_keep": 1, "ttp_save_optimizer": True,
        "ttp_save_rng": True, "ttp_server_ip": "0.0.0.0", "ttp_server_port": 29500, "ttp_dump_timeout_seconds": 60,
        "ttp_wait_dump_file_timeout": 60, "ttp_heartbeat_interval_ms": 1000, "ttp_heartbeat_timeout_ms": 3000,
        "ttp_max_missed_count": 3,
    }  # fmt: skip


# ---- jobs ----


@dataclass(frozen=True, slots=True)
class Attempt:
    code: int
    steps: dict[int, Any]
    said: list[str]
    errors: str


def case(name: str, place: Path | None, **more: Any) -> dict[str, Any]:
    on = {"ttp_enabled": True, "ttp_copy_interval": 2, "ttp_dump_dir": str(place)} if place else {}
    return {"layout": asdict(LAYOUTS[name]), "steps": STEPS, "flags": on} | more


def attempt(given: dict[str, Any], number: int = 0) -> Attempt:
    """One start of all ranks, as torchrun makes it; who starts them here stays the same."""
    launch = {
        "TORCHELASTIC_RUN_ID": "test",
        "TORCHELASTIC_MAX_RESTARTS": "1",
        "TORCHELASTIC_RESTART_COUNT": str(number),
    }
    world = given["layout"]["world"]
    done = torchrun.run(world, JOB, [json.dumps(given)], timeout=TIMEOUT_S, environment=launch)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    said = [line for line in done.stdout.splitlines() if line.startswith("fault recovery: ")]
    return Attempt(done.returncode, {row["step"]: row for row in rows}, said, torchrun.errors(done))


def goes_on(found: Attempt, wanted: Attempt, step: int) -> None:
    """Behind `step`, in every bit as what nothing happened to."""
    assert found.code == 0, found.errors
    assert list(found.steps) == list(range(step, STEPS))
    assert found.steps == {at: row for at, row in wanted.steps.items() if at >= step}


def undisturbed(name: str) -> Attempt:
    done = attempt(case(name, None))
    assert done.code == 0 and len(done.steps) == STEPS, done.errors
    return done


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_rank_and_its_memory_are_lost(name: str, folder: Path) -> None:
    """Rank 1 is killed in front of step 7 and its memory is gone; its state is the copy that its neighbour has."""
    wanted = undisturbed(name)
    given = case(name, folder, fault={"rank": 1, "step": 7, "how": "lost"}, load="a checkpoint")
    killed = attempt({**given, "load": None})
    assert killed.code != 0
    assert killed.steps == {at: row for at, row in wanted.steps.items() if at in killed.steps}
    again = attempt(given, 1)
    goes_on(again, wanted, 6)
    (line,) = again.said
    assert line.endswith(
        f"goes on behind step 6 from copies in memory, reads no checkpoint: rank 1's is from rank {PEERS.get(name, 2)}"
    )
    assert list(folder.iterdir()) == []


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Attempt, Path]]:
    """What is left of four ranks of which one was killed, with its memory as it was."""
    path = Path("/dev/shm") / f"mindspeed-test-{uuid.uuid4().hex}"
    path.mkdir(mode=0o700)
    attempt(case("dp4-distributed", path, fault={"rank": 1, "step": 7, "how": "step"}))
    yield undisturbed("dp4-distributed"), path
    shutil.rmtree(path)


@pytest.fixture
def left(killed: tuple[Attempt, Path], folder: Path) -> Path:
    """A copy of it for each test."""
    shutil.copytree(killed[1], folder, dirs_exist_ok=True)
    folder.chmod(0o700)
    return folder


def newest(left: Path, holder: int, owner: int) -> Path:
    """Steps 4 and 6 are in turns 0 and 1."""
    (path,) = left.glob(f"*/{holder}/rank{owner}.1")
    return path


def lines(found: Attempt, *parts: str) -> None:
    for part in parts:
        assert any(part in line for line in found.said), (part, found.said)


@pytest.mark.slow
def test_each_rank_has_its_own(killed: tuple[Attempt, Path], left: Path) -> None:
    again = attempt(case("dp4-distributed", left), 1)
    goes_on(again, killed[0], 6)
    lines(again, "goes on behind step 6 from copies in memory, reads no checkpoint: each rank has its own")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["data", "header", "unfinished"])
def test_a_damaged_copy(killed: tuple[Attempt, Path], left: Path, name: str) -> None:
    spoil, what = DAMAGE[name]
    path = newest(left, 2, 2)
    spoil(path)
    again = attempt(case("dp4-distributed", left), 1)
    goes_on(again, killed[0], 6)
    lines(again, f"rank 2 does not take {path}: {what}", "rank 2's is from rank 3")


@pytest.mark.slow
def test_both_copies_of_a_step_are_damaged(killed: tuple[Attempt, Path], left: Path) -> None:
    spoil_data(newest(left, 2, 2))
    newest(left, 3, 2).unlink()
    again = attempt(case("dp4-distributed", left), 1)
    goes_on(again, killed[0], 4)
    lines(again, "goes on behind step 4")


@pytest.mark.slow
def test_two_neighbours_are_lost(killed: tuple[Attempt, Path], left: Path) -> None:
    """Nobody has rank 2's state then: the job begins anew, and says so."""
    for rank in (2, 3):
        shutil.rmtree(next(left.glob(f"*/{rank}")))
    again = attempt(case("dp4-distributed", left), 1)
    goes_on(again, killed[0], 0)
    lines(
        again,
        "there is no step of which the copies of all ranks are left",
        "rank 2 has nothing; rank 3 has nothing",
    )


@pytest.mark.slow
def test_another_layout(killed: tuple[Attempt, Path], left: Path) -> None:
    again = attempt(case("tp2-dp2-bf16", left), 1)
    assert again.code == 0 and list(again.steps) == list(range(STEPS)), again.errors
    lines(
        again,
        "it is of another layout (tensor_model_parallel_size is 2 and was 1",
        "there is no step of which",
    )


@pytest.mark.slow
def test_killed_while_it_copies(folder: Path) -> None:
    """Of step 6 some have copies and rank 3 half a one."""
    given = case("dp4", folder, fault={"rank": 3, "step": 6, "how": "copy"})
    attempt(given)
    again = attempt(given, 1)
    goes_on(again, undisturbed("dp4"), 4)
    lines(again, "rank 3 does not take", "it is not finished", "goes on behind step 4")


@pytest.mark.slow
def test_torchrun_starts_them_again(folder: Path) -> None:
    """The launcher itself, with a shell between it and the ranks."""
    given = case("dp4-distributed", folder, fault={"rank": 1, "step": 7, "how": "lost"})
    script = folder / "rank.sh"
    script.write_text(f'"{sys.executable}" "{JOB}" "$@"\nexit $?\n')
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=4",
        "--max-restarts=1",
    ]
    done = subprocess.run(
        [*launch, "--no-python", "bash", str(script), json.dumps(given)],
        capture_output=True, text=True, timeout=TIMEOUT_S, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, torchrun.errors(done)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [row["step"] for row in rows] == [*range(len(rows) - 4), *range(6, STEPS)]
    wanted = undisturbed("dp4-distributed").steps
    assert all(row == wanted[row["step"]] for row in rows)
    assert "rank 1's is from rank 2" in done.stdout


@pytest.mark.slow
def test_nobody_would_start_them_again() -> None:
    given = json.dumps(case("dp4", Path("/dev/shm")))
    done = torchrun.run(4, JOB, [given], timeout=TIMEOUT_S, environment={"TORCHELASTIC_RESTART_COUNT": "0"})
    assert done.returncode != 0 and "start the program with torchrun --max-restarts N" in done.stderr
