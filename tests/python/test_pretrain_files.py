# SPDX-License-Identifier: Apache-2.0
"""The parts of the pretraining job that need no framework: options, complete-or-absent folders, history."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "pretrain_gpt"
NAMES = ("errors", "files", "history", "layout", "options", "vocabulary")


@pytest.fixture
def job() -> Iterator[dict[str, ModuleType]]:
    """The example's modules; their plain names are taken back afterwards."""
    sys.path.insert(0, str(EXAMPLE))
    try:
        yield {name: importlib.import_module(name) for name in NAMES}
    finally:
        sys.path.remove(str(EXAMPLE))
        for name in NAMES:
            sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--layers 0", "--layers is 0, wanted a positive number"),
        ("--iters -3", "--iters is -3"),
        ("--hidden 100 --heads 3", "--hidden is 100, wanted a multiple of --heads (3)"),
        ("--hidden 12 --heads 4", "an even number per head, not 3"),
        ("--micro-batch 3 --global-batch 16", "--global-batch is 16, wanted a multiple of --micro-batch (3)"),
        ("--dropout 1", "--dropout is 1.0"),
        ("--held-out 0", "--held-out is 0.0"),
        ("--lr 0", "--lr is 0.0, wanted more than 0"),
        ("--minutes 0", "--minutes is 0.0"),
        ("--warmup -1", "--warmup is -1, wanted 0 or more"),
    ],
)
def test_impossible_options(job: dict[str, ModuleType], arguments: str, message: str) -> None:
    with pytest.raises(job["errors"].UserError) as error:
        job["options"].parse(arguments.split())
    assert message in str(error.value)


def test_unknown_dtype_is_refused(job: dict[str, ModuleType], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        job["options"].parse(["--dtype", "fp8"])
    assert "fp8" in capsys.readouterr().err


def test_every_option_has_help(job: dict[str, ModuleType], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        job["options"].parse(["--help"])
    text = capsys.readouterr().out
    assert "standard library" in text and "--iters" in text and "default: bf16" in text


def make_folder(job: dict[str, ModuleType], folder: Path, text: str = "text") -> None:
    with job["files"].new_folder(folder, {"made": 1}) as target:
        (target / "deep").mkdir()
        (target / "deep" / "a.bin").write_text(text)
        (target / ".hidden").write_text("h")


def test_folder_appears_complete(job: dict[str, ModuleType], tmp_path: Path) -> None:
    folder = tmp_path / "data"
    make_folder(job, folder)
    assert job["files"].read_about(folder) == {"made": 1}
    job["files"].check_folder(folder, "remedy")
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


def test_failure_leaves_the_old_folder(job: dict[str, ModuleType], tmp_path: Path) -> None:
    folder = tmp_path / "data"
    make_folder(job, folder, "old")
    with pytest.raises(RuntimeError), job["files"].new_folder(folder, {}) as target:
        (target / "half").write_text("new")
        raise RuntimeError
    assert (folder / "deep" / "a.bin").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


def test_damage_is_named(job: dict[str, ModuleType], tmp_path: Path) -> None:
    folder, check, error = tmp_path / "data", job["files"].check_folder, job["errors"].UserError
    make_folder(job, folder)
    file = folder / "deep" / "a.bin"
    file.write_text("tex")
    with pytest.raises(error, match="a.bin has 3 bytes, wanted 4: it is truncated; remedy"):
        check(folder, "remedy")
    file.write_text("tExt")
    with pytest.raises(error, match="other contents"):
        check(folder, "remedy")
    file.unlink()
    with pytest.raises(error, match="a.bin is missing"):
        check(folder, "remedy")
    listed = (folder / "contents.json").read_text()
    (folder / "contents.json").write_text(listed.replace('"made": 1', '"made": 2'))
    with pytest.raises(error, match="contents.json is damaged: it is not what was written"):
        check(folder, "remedy")
    (folder / "contents.json").write_text("{")
    with pytest.raises(error, match="contents.json is damaged"):
        check(folder, "remedy")


def test_a_small_file_that_is_large_is_not_read(job: dict[str, ModuleType], tmp_path: Path) -> None:
    with (tmp_path / "latest").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(job["errors"].UserError, match="latest has 1099511627776 bytes, more than"):
        job["files"].read_small(tmp_path / "latest")


def test_leftovers_are_removed(job: dict[str, ModuleType], tmp_path: Path) -> None:
    (tmp_path / ".tmp-iter_0000007").mkdir()
    (tmp_path / ".tmp-latest").write_text("7")
    (tmp_path / "latest").write_text("5")
    job["files"].remove_leftovers(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["latest"]


def test_write_atomically_replaces(job: dict[str, ModuleType], tmp_path: Path) -> None:
    job["files"].write_atomically(tmp_path / "latest", "1\n")
    job["files"].write_atomically(tmp_path / "latest", "2\n")
    assert (tmp_path / "latest").read_text() == "2\n"
    assert len(list(tmp_path.iterdir())) == 1


def test_history_forgets_what_was_not_saved(job: dict[str, ModuleType], tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    history = job["history"].History(path, 0, is_writer=True)
    for iteration in (1, 2, 3):
        history.add({"iteration": iteration, "loss": 5.0 - iteration})
    with path.open("a") as file:
        file.write('{"iteration": 4, "lo')  # killed while writing
    again = job["history"].History(path, 2, is_writer=True)
    assert again.series("loss") == ([1, 2], [4.0, 3.0])
    assert [json.loads(line)["iteration"] for line in path.read_text().splitlines()] == [1, 2]


def test_curve_is_drawn(job: dict[str, ModuleType], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    history = job["history"].History(tmp_path / "history.jsonl", 0, is_writer=True)
    history.add({"iteration": 1, "loss": 2.0, "valid_loss": 2.5})
    job["history"].plot(history, tmp_path / "loss.png", "title")
    assert (tmp_path / "loss.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
