# SPDX-License-Identifier: Apache-2.0
"""The pretraining job: a small model on NPU 0, in processes of its own. As a user starts it, with an interpreter that has
imported nothing: test_kill_in_the_middle_of_a_save."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import forked
import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "pretrain_gpt" / "pretrain.py"
SMALL = (
    "--layers 1 --hidden 32 --heads 2 --seq 32 --micro-batch 2 --global-batch 4 --eval-interval 2 --eval-batches 2 "
    "--save-interval 2 --sample-bytes 8 --warmup 1"
).split()
TIMEOUT = 300


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    for i in range(30):
        (folder / f"{i}.txt").write_text(f"line {i} of a small text\n" * 20)
    return folder


@pytest.fixture(scope="module")
def trained(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """After two iterations; for tests to copy."""
    out = tmp_path_factory.mktemp("trained") / "out"
    succeed(out, "--data", str(text), "--sample-bytes", "0", "--iters", "2")
    return out


@pytest.fixture
def out(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "out"))


def command(out: Path, *arguments: str) -> list[str]:
    return [sys.executable, str(SCRIPT), "--out", str(out), *SMALL, *arguments]


def run(out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return forked.run(command(out, *arguments)[1:], timeout=TIMEOUT)


def succeed(out: Path, *arguments: str) -> str:
    done = run(out, *arguments)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def fail(out: Path, *arguments: str) -> str:
    done = run(out, *arguments)
    assert done.returncode == 2, done.stderr[-4000:]
    assert "Traceback" not in done.stderr
    return done.stderr


def records(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]


def test_train_resume_and_sample(text: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = succeed(out, "--data", str(text), "--iters", "4")
    assert "30 files (0 not text)" in first and "held-out loss" in first
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "sample.txt").read_text().startswith("def ")
    assert (out / "checkpoints" / "latest").read_text() == "4\n"
    second = succeed(out, "--data", str(text), "--iters", "6")
    assert "Resuming from" in second and "iter_0000004" in second
    losses = [(r["iteration"], r["loss"]) for r in records(out) if "loss" in r]
    assert [iteration for iteration, _ in losses] == [1, 2, 3, 4, 5, 6]
    assert "Already trained to iteration 6" in succeed(out, "--data", str(text), "--iters", "6")


def test_resumed_run_equals_an_unbroken_one(text: Path, tmp_path: Path) -> None:
    """Stopped behind a checkpoint and run again: the same numbers as without the stop."""
    options = ("--data", str(text), "--iters", "4", "--sample-bytes", "0")
    succeed(tmp_path / "whole", *options)
    shutil.copytree(tmp_path / "whole", tmp_path / "parts")
    (tmp_path / "parts" / "checkpoints" / "latest").write_text("2\n")
    assert "iter_0000002" in succeed(tmp_path / "parts", *options)
    whole, parts = (
        [r["loss"] for r in records(tmp_path / name) if "loss" in r] for name in ("whole", "parts")
    )
    assert whole == parts


@pytest.mark.parametrize("dtype", ["fp16", "fp32"])
def test_other_dtypes(text: Path, tmp_path: Path, dtype: str) -> None:
    out = succeed(tmp_path / "out", "--data", str(text), "--iters", "2", "--dtype", dtype)
    assert f", {dtype}," in out


def test_kill_in_the_middle_of_a_save(text: Path, out: Path) -> None:
    options = ("--data", str(text), "--sample-bytes", "0", "--save-interval", "1")
    with subprocess.Popen(
        command(out, *options, "--iters", "500"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + TIMEOUT
        while not list((out / "checkpoints").glob(".tmp-iter_*")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.001)
        os.killpg(process.pid, signal.SIGKILL)
    saved = int((out / "checkpoints" / "latest").read_text())
    assert saved >= 2
    text_out = succeed(out, *options, "--iters", str(saved + 1))
    assert f"iter_{saved:07d}" in text_out
    assert not list((out / "checkpoints").glob(".tmp-*"))


def test_bad_data(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "no such file or folder" in fail(out, "--data", str(tmp_path / "nothing"))
    binary = tmp_path / "binary"
    binary.write_bytes(bytes(range(256)))
    assert "not a text file" in fail(out, "--data", str(binary))
    empty = tmp_path / "empty.txt"
    empty.touch()
    assert "no text in 1 files" in fail(out, "--data", str(empty))
    large = tmp_path / "large.txt"
    with large.open("wb") as file:
        file.truncate(1 << 40)
    assert "1099.5 GB of text" in fail(out, "--data", str(large))
    short = tmp_path / "short.txt"
    short.write_text("a few words\n")
    assert "less than one sample" in fail(out, "--data", str(short))


def test_damaged_files(text: Path, out: Path) -> None:
    options = ("--data", str(text), "--sample-bytes", "0")
    shard = next((out / "checkpoints" / "iter_0000002").glob("*.distcp"))
    shard.write_bytes(shard.read_bytes()[:-10])
    message = fail(out, *options, "--iters", "4")
    assert shard.name in message and "truncated" in message and "start again" in message
    index = out / "data" / "train.idx"
    index.write_bytes(index.read_bytes()[:-1])
    assert "train.idx" in fail(out, *options, "--iters", "4")


def test_other_shape_than_the_checkpoint(text: Path, out: Path) -> None:
    message = fail(out, "--data", str(text), "--iters", "4", "--layers", "2")
    assert "--layers 1" in message and "--layers 2" in message
