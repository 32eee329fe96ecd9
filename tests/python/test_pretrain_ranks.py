# SPDX-License-Identifier: Apache-2.0
"""The pretraining job on several NPUs: layouts that cannot be are refused, checkpoints fit every layout, Ctrl-C ends all."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import forked
import pytest
import torchrun

FOLDER = Path(__file__).parents[2] / "examples" / "pretrain_gpt"
SMALL = (
    "--layers 4 --hidden 32 --heads 4 --seq 32 --global-batch 8 --eval-interval 2 --eval-batches 1 --save-interval 2 "
    "--sample-bytes 4 --warmup 1"
).split()
TIMEOUT_S = 400


def command(*arguments: str) -> list[str]:
    return [sys.executable, str(FOLDER / "pretrain.py"), *SMALL, *arguments]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("".join(f"line {i} of a small text\n" for i in range(2000)))
    return path


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The launcher is forked; its ranks are processes that torchrun starts."""
    return forked.run(command(*arguments)[1:], timeout=TIMEOUT_S, **variables)


def succeed(*arguments: str) -> str:
    done = run(*arguments)
    assert done.returncode == 0, torchrun.errors(done)
    assert "There is difference in the common state dict" not in done.stderr
    return done.stdout


def losses(out: Path) -> dict[int, float]:
    records = map(json.loads, (out / "history.jsonl").read_text().splitlines())
    return {record["iteration"]: record["loss"] for record in records if "loss" in record}


IMPOSSIBLE = {
    "--npus 4 --tp 3": "--npus is 4, wanted a multiple of --tp x --pp x --cp (3 x 1 x 1 = 3)",
    "--npus 8 --tp 8": "--tp is 8, wanted a divisor of heads (4)",
    "--npus 3 --pp 3": "--layers is 4, wanted a multiple of --pp times --vp (3)",
    "--npus 2 --pp 2 --vp 4": "--layers is 4, wanted a multiple of --pp times --vp (8)",
    "--npus 2 --vp 2": "--vp is 2, wanted 1 without a pipeline",
    "--npus 8 --cp 8 --seq 24": "--seq is 24, wanted a multiple of twice --cp (16)",
    "--npus 2 --sp": "--sp is on, wanted --tp 2 or more",
    "--npus 3": "--global-batch is 8, wanted a multiple of the data parallel ranks (3)",
    "--npus 2 --micro-batch 8": "--global-batch is 8, wanted a multiple of --micro-batch times",
    "--npus 2 --ep 2": "--ep is 2, wanted 1 without experts",
    "--npus 2 --ep 2 --experts 3": "--experts is 3, wanted a multiple of --ep (2)",
    "--npus 2 --tp 2 --sp --ep 2 --experts 4": "--ep is 2, wanted a divisor of data times context parallel",
    "--npus 2 --tp 2 --experts 4": "--sp is off, wanted on",
    "--experts 1": "--topk is 2, wanted at most --experts (1)",
    "--npus 2 --pp 2 --vp 2 --global-batch 3 --micro-batch 1": "wanted as many micro-batches for each rank (now 3)",
}


@pytest.fixture
def main() -> Iterator[Callable[[Sequence[str]], int]]:
    """The job's, in this process; the plain names of its modules are taken back afterwards."""
    before = set(sys.modules)
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module("pretrain").main
    finally:
        sys.path.remove(str(FOLDER))
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(FOLDER)):
                del sys.modules[name]


@pytest.mark.parametrize("arguments", IMPOSSIBLE)
def test_impossible_layouts_are_refused(
    arguments: str, tmp_path: Path, main: Callable[[Sequence[str]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    """In one sentence, before anything starts."""
    out = tmp_path / "out"
    code = main([*SMALL, "--out", str(out), *arguments.split()])
    printed = capsys.readouterr()
    assert code == 2 and IMPOSSIBLE[arguments] in printed.err
    assert printed.out == "" and printed.err.count("\n") == 1 and not out.exists()


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "WORLD_SIZE", "OMP_NUM_THREADS"])
def test_wrong_variables_are_refused(name: str, tmp_path: Path) -> None:
    done = run("--out", str(tmp_path / "out"), **{name: "two"})
    assert done.returncode == 2 and f"{name}=two: expected a whole number from " in done.stderr
    assert done.stderr.count("\n") == 1 and not (tmp_path / "out").exists()


def test_more_ranks_than_devices(tmp_path: Path) -> None:
    done = run("--out", str(tmp_path / "out"), "--npus", "16", "--global-batch", "16")
    assert done.returncode == 2 and "--npus is 16, wanted at most 8" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_checkpoint_goes_on_in_another_layout(text: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    # So much weight decay shows when parameters that have none are given some.
    options = ("--data", str(text), "--dtype", "fp32", "--npus", "2", "--weight-decay", "20")
    tensor, pipeline = ("--tp", "2"), ("--pp", "2")
    printed = succeed(*options, *tensor, "--out", str(whole), "--iters", "4")
    assert "Layout: 2 NPUs: tensor 2;" in printed and printed.count("Layout:") == 1
    assert (whole / "sample.txt").read_text().startswith("def ")
    # What is left of a run that was stopped behind iteration 2.
    shutil.copytree(whole, parts)
    (parts / "checkpoints" / "latest").write_text("2\n")
    printed = succeed(*options, *pipeline, "--out", str(parts), "--iters", "4")
    assert "Layout: 2 NPUs: pipeline 2;" in printed and "iter_0000002" in printed
    found, wanted = losses(parts), losses(whole)
    assert found.keys() == wanted.keys() == {1, 2, 3, 4}
    assert found == pytest.approx(wanted, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "layout",
    [
        "--npus 4 --tp 2 --pp 2",
        "--npus 4 --tp 2 --sp --cp 2",
        "--npus 4 --pp 2 --vp 2 --overlap",
        "--npus 4 --ep 4 --experts 4",
        "--npus 8 --tp 2 --sp --pp 2 --ep 2 --experts 4",
    ],
    ids=lambda options: options.replace(" --", "-").replace("--", "").replace(" ", ""),
)
def test_layouts_train(layout: str, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    printed = succeed("--data", str(text), "--out", str(out), "--iters", "20", *layout.split())
    found = losses(out)
    assert found[20] < found[1] - 0.3, found
    assert printed.count("Trained to iteration 20") == 1


def ranks_of(out: Path) -> Iterator[int]:
    """Processes whose command line names the folder."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(out).encode() in line.split(b"\0"):
                yield int(entry.name)


def wait_until(condition, message: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, message
        time.sleep(0.1)


def test_interrupt_ends_all_ranks(text: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    line = command("--data", str(text), "--out", str(out), "--iters", "100000", "--npus", "2", "--tp", "2")
    history = out / "history.jsonl"
    with subprocess.Popen(
        line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            wait_until(
                lambda: process.poll() is not None or (history.is_file() and len(losses(out)) > 2),
                "the training does not start",
            )
            assert (
                len(list(ranks_of(out))) >= 3
            )  # the launcher, its ranks, and what they may have forked to save
        finally:
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "interrupted; run it again" in errors and "Traceback" not in errors, errors
    wait_until(lambda: not list(ranks_of(out)), "ranks are left")
