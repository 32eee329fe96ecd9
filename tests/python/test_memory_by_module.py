# SPDX-License-Identifier: Apache-2.0
"""`mindspeed memory`: what modules hold, of recordings written by hand and of programs that run (docs/memory.md)."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import forked
import pytest
from mindspeed.cli.main import main
from mindspeed.memory import page, records, replay, report, script
from mindspeed.memory.records import (
    AGAIN,
    BACKWARD,
    FORWARD,
    GRADIENT,
    KINDS,
    OPTIMIZER,
    OUTSIDE,
    PHASES,
    STATE,
    WEIGHT,
)
from mindspeed.memory.replay import NO_MODULE

SCRIPT = Path(script.__file__)
MODULES = ["", "layers.0.fc1", "layers.0.fc2", "layers.1"]


def marker(allocations: int, microseconds: int, phase: str, module: int = 0) -> list[int]:
    return [allocations, microseconds, PHASES.index(phase), module]


def region(address: int, size: int, kind: str, module: int, after: int) -> list[int]:
    return [address, size, KINDS.index(kind), module, after]


# A buffer of two weights (70 of its 80 bytes), activations, a gradient, states; 5: what the loss left for a moment.
RECORDING = records.Recording(
    rank=0, world=1, device=0, capacity=1000, modules=MODULES, steps=[6],
    events=[[1000, 80], [2000, 30], [3000, 20], [4000, 5], [4000, -5], [4000, 40], [3000, -20], [3000, 10], [2000, -30], [4000, -40]],
    markers=[
        marker(0, 100, OUTSIDE), marker(1, 200, FORWARD, 1), marker(2, 300, FORWARD, 2), marker(3, 400, OUTSIDE),
        marker(4, 500, BACKWARD, 2), marker(5, 600, OPTIMIZER), marker(6, 900, OUTSIDE),
    ],
    regions=[
        region(1000, 30, WEIGHT, 1, 6), region(1032, 40, WEIGHT, 3, 6), region(4000, 40, GRADIENT, 2, 6),
        region(3000, 10, STATE, 1, 6),
    ],
)  # fmt: skip


def test_who_holds_what_at_the_peak() -> None:
    peak = replay.replay(RECORDING).peak
    assert (peak.total, peak.step, peak.phase, peak.module, peak.microseconds) == (
        170,
        1,
        BACKWARD,
        "layers.0.fc2",
        400,
    )
    assert dict(peak.held) == {
        ("layers.0.fc1", "weights"): 30, ("layers.1", "weights"): 40, (NO_MODULE, "weights"): 10,
        ("layers.0.fc1", "activations"): 30, ("layers.0.fc2", "activations"): 20, ("layers.0.fc2", "gradients"): 40,
    }  # fmt: skip


def test_what_is_held_over_time() -> None:
    """The most of each two events; at the end the weights and the state are left. The step ends before its last frees."""
    timeline = replay.replay(RECORDING, columns=5)
    assert [(moment.event, moment.total) for moment in timeline.moments] == [
        (1, 110),
        (3, 135),
        (5, 170),
        (7, 160),
        (8, 130),
    ]
    assert timeline.moments[-1].held["layers.0.fc1", "optimizer"] == 10
    assert replay.replay(RECORDING).moments[-1].total == 90


def test_steps_are_counted_by_their_allocations() -> None:
    """The first one ends with what is freed before the second one asks for something."""
    two = replace(RECORDING, events=[*RECORDING.events, [7, 200]], steps=[6, 7])
    timeline = replay.replay(two)
    assert list(timeline.steps) == [9] and timeline.peak.step == 2 and timeline.peak.event == 10


@pytest.mark.parametrize(
    ("phase", "amount"),
    [(AGAIN, "recomputed"), (BACKWARD, "backward"), (OPTIMIZER, "step"), (OUTSIDE, "other")],
)
def test_what_no_region_names_is_held_as_what_was_going_on(phase: str, amount: str) -> None:
    one = replace(RECORDING, events=[[1, 8]], markers=[marker(0, 0, phase, 1)], regions=[], steps=[])
    assert dict(replay.replay(one).peak.held) == {("layers.0.fc1", amount): 8}


def test_an_address_that_is_used_again_is_another_block() -> None:
    """The region was seen when the second block lay there."""
    one = replace(
        RECORDING, events=[[8, 64], [8, -64], [8, 32]], markers=[marker(0, 0, FORWARD, 1), marker(1, 50, FORWARD, 2)],
        regions=[region(8, 32, WEIGHT, 3, 2)], steps=[],
    )  # fmt: skip
    timeline = replay.replay(one)
    assert dict(timeline.peak.held) == {("layers.0.fc1", "activations"): 64}
    assert dict(timeline.moments[-1].held) == {("layers.1", "weights"): 32}


def test_frees_of_what_was_there_before_do_not_count() -> None:
    one = replace(
        RECORDING, events=[[1, -8], [1, 4]], markers=[marker(0, 0, FORWARD, 1)], regions=[], steps=[]
    )
    assert replay.replay(one).peak.total == 4


def test_names_are_shortened_to_a_depth() -> None:
    held = replay.replay(RECORDING).peak.held
    assert {name: found.total() for name, found in replay.by_module(held, 2).items()} == {
        "layers.0": 120, "layers.1": 40, NO_MODULE: 10,
    }  # fmt: skip
    assert list(replay.by_module(held, 3)) == ["layers.0.fc1", "layers.0.fc2", "layers.1", NO_MODULE]


def test_table() -> None:
    ranks = report.play(
        [replace(RECORDING, capacity=2**20, events=[[a, s * 2**20] for a, s in [[1, 3], [2, 1]]], regions=[])]
    )
    lines = report.text(ranks, ranks[0], 1).splitlines()
    assert (
        lines[0] == "rank 0 of 1, device 0: at most 4.0 MiB of 1.0, in step 1, forward pass of layers.0.fc1"
    )
    assert [line.split() for line in lines[3:]] == [
        ["module", "all", "activations", "other"], ["layers", "1.0", "1.0", "0.0"], ["(no", "module)", "3.0", "0.0", "3.0"],
        ["all", "4.0", "1.0", "3.0"],
    ]  # fmt: skip


def test_a_table_has_so_many_rows_and_the_rest() -> None:
    count = report.ROWS + 5
    names = ["", *(f"part{number}" for number in range(count))]
    one = replace(
        RECORDING, modules=names, regions=[], events=[[number, 100 + number] for number in range(count)],
        markers=[marker(number, number, FORWARD, number + 1) for number in range(count)],
    )  # fmt: skip
    (rank,) = report.play([one])
    rows = report.rows(rank.timeline.peak, 3)
    assert len(rows) == report.ROWS and rows[0][0] == f"part{count - 1}" and rows[-1][0] == "6 more"
    assert sum(held.total() for _, held in rows) == rank.timeline.peak.total


def test_page_names_modules_and_needs_nothing_else() -> None:
    odd = replace(RECORDING, modules=["", "a<b>", "layers.0.fc2", "layers.1"], ended="RuntimeError: <out>")
    ranks = report.play([odd])
    text = page.page(ranks, ranks[0], 3, "python train.py --x '<y>'")
    assert (
        text.count("<svg") == 2
        and text.count("<polygon") >= 6
        and "a&lt;b&gt;" in text
        and "&lt;out&gt;" in text
    )
    assert "<b>" not in text and "http" not in text and "<script" not in text
    corners = [
        float(number)
        for points in re.findall(r'points="([^"]*)"', text)
        for number in re.split(r"[ ,]", points)
    ]
    assert min(corners) >= 0 and max(corners) <= page.WIDTH


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    records.write(tmp_path, RECORDING)
    records.write(tmp_path, replace(RECORDING, rank=10, world=11))
    assert [one.rank for one in records.read_all(tmp_path)] == [0, 10]
    assert records.read_all(tmp_path)[0] == RECORDING
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["rank0.json", "rank10.json"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 2}, "is no record of `mindspeed memory`"),
        ({"more": 1}, "damaged: wanted"),
        ({"markers": []}, "it has no events, markers or modules"),
        ({"events": [[1]]}, "events has [1], wanted 2 whole numbers"),
        ({"events": [[1, "2"]]}, "events has [1, '2']"),
        ({"markers": [[0, 0, 9, 0]]}, "markers name module 0 of 4 and kind 9 of 5"),
        ({"regions": [[0, 1, 0, 7, 0]]}, "regions name module 7 of 4"),
    ],
)
def test_damaged_records_are_refused(tmp_path: Path, capsys: Any, change: dict[str, Any], words: str) -> None:
    records.write(tmp_path, RECORDING)
    path = records.file_of(tmp_path, 0)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert main(["memory", "--read", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "give a command behind --, or a folder with --read"),
        (["--read", "x", "--", "python", "a.py"], "and not both"),
        (["--steps", "0", "--", "python", "a.py"], "--steps is 0, wanted 1 or more"),
        (["--read", "nowhere"], "nowhere is no folder"),
        (["--read", "."], "has no rank*.json"),
        (["--", "torchrun", "--nproc-per-node", "2"], "no script"),
        (["--", "python", "missing.py"], "there is no missing.py"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(
    tmp_path: Path, monkeypatch: Any, capsys: Any, words: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["memory", *words]) == 2
    error = capsys.readouterr().err
    assert told in error and error.startswith("mindspeed: memory: ") and error.count("\n") == 1


def test_read_shows_the_rank_that_is_asked_for(tmp_path: Path, capsys: Any) -> None:
    records.write(tmp_path, replace(RECORDING, world=4))
    records.write(tmp_path, replace(RECORDING, rank=1, world=4, events=[[1, 2**20]], regions=[]))
    assert main(["memory", "--read", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "Held at the peak of rank 1, MiB" in text and "note: no record of rank 2, 3" in text
    assert main(["memory", "--read", str(tmp_path), "--rank", "0", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [rank["peak"]["bytes"] for rank in found["ranks"]] == [170, 2**20]
    assert found["ranks"][0]["peak"]["modules"]["layers.0.fc2"] == {"activations": 20, "gradients": 40}
    assert main(["memory", "--read", str(tmp_path), "--rank", "3"]) == 2
    assert "no record of rank 3; there is 0, 1" in capsys.readouterr().err


def test_a_record_is_not_overwritten(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "a.py").touch()
    records.write(tmp_path, RECORDING)
    assert main(["memory", "--record", str(tmp_path), "--", "python", str(tmp_path / "a.py")]) == 2
    assert "has a record already" in capsys.readouterr().err


# ---- programs

HIDDEN, BATCH, WIDE = 64, 512, 256
TRAIN = f"""
import json, sys, torch
from torch.utils.checkpoint import checkpoint

class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = torch.nn.Linear({HIDDEN}, {WIDE}), torch.nn.Linear({WIDE}, {HIDDEN})
    def forward(self, x):
        return self.down(torch.relu(self.up(x)))

class Model(torch.nn.Module):
    def __init__(self, again):
        super().__init__()
        self.again, self.layers = again, torch.nn.ModuleList(Layer() for _ in range(2))
    def forward(self, x):
        for layer in self.layers:
            x = checkpoint(layer, x, use_reentrant=False) if self.again else layer(x)
        return x

how = sys.argv[1]
model = Model(how == "again").npu()
optimizer = torch.optim.AdamW(model.parameters())
for step in range(4):
    optimizer.zero_grad()
    loss = model(torch.randn({BATCH}, {HIDDEN}).npu()).square().mean()
    if how == "fails" and step == 1:
        raise RuntimeError("out of something")
    loss.backward()
    optimizer.step()
print(json.dumps(torch.npu.memory_stats()["requested_bytes.all.peak"]))
"""


def recorded(tmp_path: Path, how: str, steps: int) -> tuple[Any, records.Recording]:
    program = tmp_path / "train.py"
    program.write_text(TRAIN, encoding="utf-8")
    done = forked.run([str(SCRIPT), str(tmp_path), str(steps), str(program), how], timeout=120)
    assert records.file_of(tmp_path, 0).is_file(), done.stderr
    (found,) = records.read_all(tmp_path)
    return done, found


def test_a_training_is_recorded_to_the_byte(tmp_path: Path) -> None:
    """The peak is the allocator's own, weights and states have the sizes that they have."""
    done, found = recorded(tmp_path, "plain", 4)
    assert done.returncode == 0, done.stderr
    peak = replay.replay(found).peak
    assert peak.total == json.loads(done.stdout.splitlines()[-1])
    assert len(found.steps) == 4 and found.ended == "" and peak.step > 1
    weights = 4 * (HIDDEN * WIDE + WIDE)
    assert peak.held["layers.0.up", "weights"] == weights
    assert peak.held["layers.0.up", "optimizer"] >= 2 * weights
    assert peak.held["layers.0", "activations"] >= 4 * BATCH * WIDE  # of its relu
    assert not any(amount == "recomputed" for _, amount in peak.held)


def test_what_a_checkpoint_computes_again_is_told_apart(tmp_path: Path) -> None:
    done, found = recorded(tmp_path, "again", 2)
    assert done.returncode == 0, done.stderr
    seen = {key for moment in replay.replay(found).moments for key in moment.held}
    assert ("layers.1.up", "recomputed") in seen and ("layers.1.up", "activations") in seen
    assert len(found.steps) == 2


def test_a_program_that_fails_leaves_its_record(tmp_path: Path) -> None:
    done, found = recorded(tmp_path, "fails", 3)
    assert done.returncode != 0 and "out of something" in done.stderr
    assert found.ended == "RuntimeError: out of something" and len(found.steps) == 1
    assert replay.replay(found).peak.held["layers.1.down", "weights"] == 4 * (HIDDEN * WIDE + HIDDEN)


DISTRIBUTED = """
import torch
torch.npu.set_device(int(__import__("os").environ["LOCAL_RANK"]))
torch.distributed.init_process_group("hccl")
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(256, 256).npu())
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(2):
    optimizer.zero_grad()
    model(torch.ones(8, 256).npu()).sum().backward()
    optimizer.step()
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_memory_of_two_ranks_of_torchrun(tmp_path: Path, capsys: Any) -> None:
    program = tmp_path / "train.py"
    program.write_text(DISTRIBUTED, encoding="utf-8")
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        str(program),
    ]
    assert (
        main(
            ["memory", "--format", "json", "-o", str(tmp_path / "found.json"), "--steps", "2", "--", *launch]
        )
        == 0
    )
    found = json.loads((tmp_path / "found.json").read_text())
    assert [(rank["rank"], rank["world"], rank["device"], rank["steps"]) for rank in found["ranks"]] == [
        (0, 2, 0, 2),
        (1, 2, 1, 2),
    ]
    assert all(rank["peak"]["modules"]["Linear"]["weights"] == 4 * 256 * 257 for rank in found["ranks"])
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_exit_codes_are_the_commands(tmp_path: Path, capsys: Any) -> None:
    program = tmp_path / "train.py"
    program.write_text("import torch\nx = torch.ones(1024).npu()\nraise SystemExit(7)\n", encoding="utf-8")
    assert main(["memory", "--", sys.executable, str(program)]) == 7
    told = capsys.readouterr()
    assert "note: rank 0 of 1, device 0: the program ended with exit code 7" in told.out
    assert "mindspeed: memory: the command ended with exit code 7" in told.err
    program.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n", encoding="utf-8")
    assert main(["memory", "--", sys.executable, str(program)]) == 2
    assert "the command was ended by SIGKILL" in capsys.readouterr().err
