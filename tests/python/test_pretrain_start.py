# SPDX-License-Identifier: Apache-2.0
"""What a run looks for before it trains, and what the launcher says last: without devices, in this process."""

from __future__ import annotations

import importlib
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "pretrain_gpt"
NAMES = ("errors", "files", "launch", "ready")


@pytest.fixture
def job() -> Iterator[dict[str, ModuleType]]:
    sys.path.insert(0, str(EXAMPLE))
    try:
        yield {name: importlib.import_module(name) for name in NAMES}
    finally:
        sys.path.remove(str(EXAMPLE))
        for name in NAMES:
            sys.modules.pop(name, None)


def refused(job: dict[str, ModuleType], call: Any, *arguments: Any) -> str:
    with pytest.raises(job["errors"].UserError) as error:
        call(*arguments)
    text = str(error.value)
    assert "\n" not in text
    return text


def test_all_packages_fit_here(job: dict[str, ModuleType]) -> None:
    job["ready"].check_packages()


@pytest.mark.parametrize("name", ["tqdm", "matplotlib", "einops", "psutil"])
def test_a_missing_package(job: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Found at the end of training before."""
    for module in [one for one in sys.modules if one.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    text = refused(job, job["ready"].check_packages)
    assert f"{name}, which the run needs, is not installed" in text and f"-m pip install {name}" in text


def test_numpy_2(job: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy

    monkeypatch.delattr(numpy, "product")
    text = refused(job, job["ready"].check_packages)
    assert "has no numpy.product" in text and "pip install numpy==1.26.4" in text


def test_torch_built_for_another_numpy(job: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def no_numpy(_: Any) -> None:
        raise RuntimeError("Numpy is not available")

    monkeypatch.setattr(torch, "from_numpy", no_numpy)
    assert "was built for another numpy than" in refused(job, job["ready"].check_packages)


def test_a_wheel_that_does_not_load(job: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> Any:
        raise AttributeError("_ARRAY_API\nnot found") if name.startswith("matplotlib") else SystemError

    monkeypatch.setattr(importlib, "import_module", broken)
    text = refused(job, job["ready"]._import, "matplotlib.pyplot")
    assert "matplotlib cannot be imported (AttributeError: _ARRAY_API not found)" in text
    assert "--force-reinstall matplotlib" in text


def test_a_folder_that_cannot_be_written(job: dict[str, ModuleType], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert "cannot be written: Not a directory" in refused(job, job["ready"].check_folder, file / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "checkpoints").symlink_to("nowhere")
    assert "is no folder" in refused(job, job["ready"].check_folder, tmp_path / "out")
    job["ready"].check_folder(tmp_path / "new" / "deep")
    assert list((tmp_path / "new" / "deep").iterdir()) == []


def test_a_checkpoint_takes_what_is_said(job: dict[str, ModuleType]) -> None:
    """Of 1e9 parameters: weights, and in fp32 a copy and two moments."""
    assert job["ready"].checkpoint_bytes(10**9, "bf16") == 14 * 10**9


def failure(exitcode: int, seconds: int, nanoseconds: int = 0, message: str = "") -> SimpleNamespace:
    data: dict[str, Any] = {"message": ""}
    if nanoseconds:
        extra = {"timestamp": str(seconds), "nanoseconds": nanoseconds}
        data = {"message": {"message": message, "extraInfo": extra}}
    return SimpleNamespace(exitcode=exitcode, timestamp=seconds, error_file_data=data)


FOLLOWER = failure(1, 100, 100_500_000_000, "RuntimeError: rank 1 has ended")


@pytest.mark.parametrize(
    ("failures", "code", "text"),
    [
        ({0: FOLLOWER, 1: failure(2, 100, 100_400_000_000, "no space")}, 2, "rank 1 on {} failed with exit code 2: no space"),
        ({0: FOLLOWER, 1: failure(-9, 101)}, 137, "rank 1 on {} was ended by signal 9 (SIGKILL)"),
        ({0: failure(-6, 100), 1: FOLLOWER}, 1, "rank 1 on {} failed with exit code 1: RuntimeError: rank 1 has ended"),
        ({3: failure(-11, 100), 1: failure(-15, 99)}, 139, "rank 3 on {} was ended by signal 11 (SIGSEGV)"),
    ],
)  # fmt: skip
def test_the_last_line_names_the_first_failure(
    job: dict[str, ModuleType],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    failures: dict[int, Any],
    code: int,
    text: str,
) -> None:
    monkeypatch.setattr(job["launch"].socket, "gethostname", lambda: "host")
    assert job["launch"]._fail(SimpleNamespace(failures=failures)) == code
    assert capsys.readouterr().err == f"pretrain: error: {text.format('host')}\n"


def test_a_rank_writes_down_why_it_fails(
    job: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In torch's format, so that torchrun shows it too."""
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

    path = tmp_path / "error.json"
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(path))
    job["launch"].write_down(job["errors"].UserError("the disk\nis full"))
    found = ProcessFailure(local_rank=1, pid=7, exitcode=2, error_file=str(path))
    assert found.message["message"] == "the disk is full" and found.timestamp > 0
    assert json.loads(path.read_text())["message"]["extraInfo"]["nanoseconds"] > 0


def test_signals_have_names(job: dict[str, ModuleType]) -> None:
    for number in (signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV):
        assert number.name in job["launch"]._describe(0, failure(-number, 1))
