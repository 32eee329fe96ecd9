# SPDX-License-Identifier: Apache-2.0
"""The start-up hook, in fresh virtual environments that hold the built wheel and a choice of frameworks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SITE = Path(sysconfig.get_path("purelib"))
HAS_TORCH_NPU = (SITE / "torch_npu").is_dir()
needs_torch_npu = pytest.mark.skipif(not HAS_TORCH_NPU, reason="needs torch_npu")


@pytest.fixture(scope="session")
def wheel():
    """MINDSPEED_WHEEL, else the one that `make` built."""
    named = os.environ.get("MINDSPEED_WHEEL")
    wheels = [Path(named)] if named else sorted((ROOT / "build" / "dist").glob("mindspeed-*.whl"))
    if not wheels or not wheels[-1].is_file():
        pytest.skip("no wheel: run `make build`, or set MINDSPEED_WHEEL")
    return wheels[-1]


class Environment:
    """A virtual environment that sees the packages of this one, but for some."""

    def __init__(self, folder: Path, without: tuple[str, ...]) -> None:
        venv.create(folder / "venv", with_pip=False)
        self.python = folder / "venv" / "bin" / "python"
        self.site = Path(self.run("import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip())
        farm = folder / "packages"
        farm.mkdir()
        for entry in SITE.iterdir():
            if not entry.name.startswith(("mindspeed", "_mindspeed", "__pycache__", *without)):
                (farm / entry.name).symlink_to(entry)
        (self.site / "packages.pth").write_text(f"{farm}\n")

    def run(self, code: str, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
        kept = {
            k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "TMPDIR", "LANG", "OMP_NUM_THREADS")
        }
        return subprocess.run(
            [self.python, *options, "-c", code],
            capture_output=True, text=True, timeout=300, env=kept | variables, cwd="/", check=False,
        )  # fmt: skip

    def quietly(self, code: str, *options: str, **variables: str) -> str:
        """Standard output of code that must succeed and write nothing to standard error."""
        done = self.run(code, *options, **variables)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout.strip()

    def pip(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "pip", "--python", str(self.python), *arguments]
        subprocess.run(
            [*command, "--disable-pip-version-check"], check=True, capture_output=True, timeout=300
        )

    def install(self, wheel: Path) -> None:
        self.pip("install", "--no-index", "--no-deps", str(wheel))

    def files(self) -> set[str]:
        return {str(path.relative_to(self.site.parent)) for path in self.site.parent.rglob("*")} | {
            path.name for path in self.python.parent.iterdir()
        }


@pytest.fixture(scope="module")
def full(tmp_path_factory, wheel):
    environment = Environment(tmp_path_factory.mktemp("full"), without=())
    environment.install(wheel)
    return environment


@pytest.fixture(scope="module")
def without_torch_npu(tmp_path_factory, wheel):
    environment = Environment(tmp_path_factory.mktemp("torch"), without=("torch_npu", "torch.npu"))
    environment.install(wheel)
    return environment


def test_uninstalling_leaves_nothing(tmp_path, wheel):
    environment = Environment(tmp_path, without=("torch",))
    before = environment.files()
    environment.install(wheel)
    environment.quietly("import mindspeed.cann.loader, mindspeed.cli.main")
    assert (environment.site / "mindspeed.pth").is_file()
    environment.pip("uninstall", "--yes", "mindspeed")
    assert environment.files() == before
    assert environment.quietly("import sys; print(any('mindspeed' in m for m in sys.modules))") == "False"


def test_plain_python_loads_the_hook_alone(full):
    code = "import sys; print(sorted(m for m in sys.modules if 'mindspeed' in m), 'ctypes' in sys.modules)"
    assert full.quietly(code) == "['_mindspeed_hook'] False"


@needs_torch_npu
def test_import_torch_is_silent_and_finds_devices_in_children_too(full):
    code = """if True:
        import subprocess, sys, torch
        print(torch.npu.is_available(), torch.npu.device_count())
        child = "import torch, mindspeed.cann.loader as l; print(l.decision.kind, torch.npu.device_count())"
        print(subprocess.run([sys.executable, "-c", child], capture_output=True, text=True).stdout.strip())
    """
    assert full.quietly(code, "-W", "error::UserWarning") == "True 8\nhost 8"


@needs_torch_npu
def test_a_clean_import_raises_no_warning_of_ours(full):
    done = full.run("import torch", "-W", "default")
    ours = [line for line in done.stderr.splitlines() if "mindspeed" in line.lower() or "ASCEND" in line]
    assert (done.returncode, done.stdout, ours) == (0, "", [])


@needs_torch_npu
def test_import_torch_npu_first(full):
    code = "import os, torch_npu, torch; print(torch.npu.is_available(), os.environ['TASK_QUEUE_ENABLE'])"
    assert full.quietly(code) == "True 0"


@needs_torch_npu
def test_without_autoload(full):
    code = """if True:
        import sys, torch
        print("mindspeed.cann" in sys.modules)
        import torch_npu
        print(torch.npu.is_available())
    """
    assert full.quietly(code, TORCH_DEVICE_BACKEND_AUTOLOAD="0") == "False\nTrue"


@needs_torch_npu
def test_looking_for_torch_npu_loads_nothing(full):
    code = (
        "import importlib.util, sys\n"
        "print(bool(importlib.util.find_spec('torch_npu')), 'mindspeed' in sys.modules)"
    )
    assert full.quietly(code) == "True False"


@pytest.mark.skipif(not (SITE / "torch").is_dir(), reason="needs torch")
def test_torch_alone(without_torch_npu):
    code = "import sys, torch; print(torch.ones(2).sum().item(), 'mindspeed' in sys.modules)"
    assert without_torch_npu.quietly(code) == "2.0 False"


def test_missing_torch_npu_is_an_ordinary_import_error(without_torch_npu):
    done = without_torch_npu.run("import torch_npu", TORCH_DEVICE_BACKEND_AUTOLOAD="0")
    assert done.returncode == 1
    assert "No module named 'torch_npu'" in done.stderr
    assert "mindspeed" not in done.stderr


@needs_torch_npu
def test_a_cann_without_device_is_stepped_over(full, tmp_path):
    code = """if True:
        import os, torch, mindspeed.cann.loader as l
        print(l.decision.kind, torch.npu.is_available(), os.environ["TASK_QUEUE_ENABLE"])
    """
    # What the user has set stays as it is.
    assert full.quietly(code, ASCEND_HOME_PATH=str(tmp_path), TASK_QUEUE_ENABLE="1") == "host True 1"


@needs_torch_npu
def test_the_vendors_cann_on_request(full):
    done = full.run("import torch", MINDSPEED_DEVICE="ascend")
    assert done.returncode == 1, "there is no vendor's CANN here"
    assert "cannot open shared object file" in done.stderr


@needs_torch_npu
def test_a_bad_choice_is_refused_when_the_device_is_used(full):
    code = """if True:
        import torch
        try:
            torch.zeros(1, device="npu")
        except RuntimeError as error:
            print("MINDSPEED_DEVICE=gpu: expected host, ascend or auto" in str(error))
    """
    assert full.run(code, MINDSPEED_DEVICE="gpu").stdout.strip() == "True"


def test_the_hook_survives_a_broken_package(tmp_path, wheel):
    """SystemExit is no Exception: with it `import torch` ended the program without a word."""
    environment = Environment(tmp_path, without=("torch_npu", "torch.npu"))
    environment.install(wheel)
    (environment.site / "torch_npu.py").write_text("value = 1\n")
    code = (
        "import torch_npu, _mindspeed_hook as h; print(torch_npu.value, h.failure, torch_npu.__spec__.loader)"
    )
    for error in ("RuntimeError", "SystemExit", "GeneratorExit"):
        (environment.site / "mindspeed" / "cann" / "loader.py").write_text(f"raise {error}('broken')\n")
        assert environment.quietly(code).startswith("1 broken <_frozen_importlib_external.SourceFileLoader")
    (environment.site / "mindspeed" / "cann" / "loader.py").write_text("raise KeyboardInterrupt\n")
    assert environment.run(code).returncode == -signal.SIGINT  # that one is the user's


def test_command_is_installed(full):
    done = subprocess.run(
        [full.python.parent / "mindspeed", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("mindspeed 0.1.0")
