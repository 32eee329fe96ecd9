# SPDX-License-Identifier: Apache-2.0
"""tools/megatron_unit_tests.py, on a checkout of a few tests that pass, fail, hang and end their process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools/megatron_unit_tests.py"
PAGE = ROOT / "tools/megatron_unit_tests_page.py"
TESTS = """
import os, signal, time
import pytest, torch

RANK = int(os.environ["RANK"])

def test_sum():
    torch.cuda.set_device(RANK)
    torch.distributed.init_process_group("nccl")
    ones = torch.ones(2, device="cuda")
    torch.distributed.all_reduce(ones)
    assert ones.tolist() == [2, 2]

def test_one_rank_fails():
    if RANK == 1:
        raise ValueError("other words")
    time.sleep(600)

def test_after():
    pass

def test_ends():
    if RANK == 0:
        os.kill(os.getpid(), signal.SIGKILL)

def test_aborts():
    if RANK == 0:
        os.write(2, b"terminate called\\n  what():  the last words\\n")
        os.abort()

@pytest.mark.parametrize("device", ["cuda"])
def test_device(device):
    assert torch.ones(1, device=device).device.type == 'cuda'

def test_skips():
    pytest.skip("not today")
"""
SPAWNS = """
import multiprocessing

def adapted(queue):
    import sys
    queue.put("mindspeed.megatron_adaptor" in sys.modules)

def test_spawned():
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    child = context.Process(target=adapted, args=(queue,))
    child.start()
    child.join()
    assert child.exitcode == 0 and queue.get()
"""
# A test that made more process groups than one process should keep, and the one after it.
GROUPS = """
from torch.distributed import distributed_c10d

def test_many():
    distributed_c10d._world.group_count = 10_000

def test_after():
    assert distributed_c10d._world.group_count < 10_000
"""


# Tests that start their ranks themselves, as those of the original MindSpeed do, and one of what is not here.
STARTS = """
import multiprocessing, os, sys
import pytest

IMPORTED_BEFORE = "mindspeed.megatron_adaptor" in sys.modules and "torch" in sys.modules

def rank_of(number):
    return number, IMPORTED_BEFORE, os.environ.get("RANK")

def test_ranks():
    multiprocessing.set_start_method("forkserver", force=True)
    with multiprocessing.Pool(2) as pool:
        assert sorted(pool.map(rank_of, range(2))) == [(0, True, None), (1, True, None)]

@pytest.mark.slow
def test_slow(request):
    assert request.config.getoption("--run-all")
"""
MISSING = "from mindspeed.core.qat.qat import something\n"
OPTIONS = """
def pytest_addoption(parser):
    parser.addoption("--run-all", action="store_true")
"""


def run(*arguments: str) -> str:
    command = [sys.executable, str(TOOL), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=900).stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("checkout")
    for name, text in (
        ("megatron/core/package_info.py", "MAJOR = 9\nMINOR = 8\nPATCH = 7\n"),
        ("pyproject.toml", '[tool.pytest.ini_options]\naddopts = "-x -s"\n'),
        ("tests/unit_tests/some/test_few.py", TESTS),
        ("tests/unit_tests/other/test_spawns.py", SPAWNS),
        ("tests/unit_tests/groups/test_broken.py", "import no_such_package\n"),
        ("tests/unit_tests/groups/test_groups.py", GROUPS),
        ("tests/unit_tests/groups/test_plain.py", "def test_after():\n    pass\n"),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


@pytest.mark.slow
def test_what_becomes_of_tests_that_fail_in_different_ways(checkout: Path) -> None:
    state, page = checkout / "state.json", checkout / "page.md"
    page.write_text(f"before\n{mark('BEGIN')}\nstale words\n{mark('END')}\nafter\n", encoding="utf-8")
    arguments = ["--checkout", str(checkout), "--ranks", "2", "--state", str(state), "--test-timeout", "60"]
    arguments += ["--match", "some/.*"]
    run(*arguments, "--write", str(page))
    tests = json.loads(state.read_text(encoding="utf-8"))["9.8.7"]["some/test_few.py"]["tests"]
    outcomes = {name: (test["outcome"], test["reason"], test["ranks"]) for name, test in tests.items()}
    assert outcomes == {
        "test_sum": ("passed", "", ""),
        "test_one_rank_fails": ("failed", "other error", "1"),
        "test_after": ("passed", "", ""),
        "test_ends": ("failed", "a process ended", ""),
        "test_aborts": ("failed", "a process ended", ""),
        "test_device[cuda]": ("failed", "asks whether a tensor's device is CUDA", ""),
        "test_skips": ("skipped", "", ""),
    }
    assert tests["test_one_rank_fails"]["line"] == "ValueError: other words"
    assert tests["test_ends"]["line"] == "process ended: rank 0, SIGKILL"
    assert tests["test_aborts"]["line"] == "process ended: rank 0, SIGABRT: the last words"
    written = page.read_text(encoding="utf-8")
    assert "2 tests pass, 3 fail, 1 skip" in written and "| some/test_few.py | 2 | 3 | 1 | 1 |" in written
    assert "Not run yet (4 of 5 files): groups/test_broken.py, " in written
    assert written.startswith("before\n") and written.endswith("\nafter\n") and "stale words" not in written
    # A file with results is not run again.
    assert run(*arguments) == ""


@pytest.mark.slow
def test_processes_that_tests_spawn_have_the_adaptor(checkout: Path) -> None:
    state = checkout / "spawned.json"
    arguments = ["--checkout", str(checkout), "--ranks", "1", "--state", str(state), "--test-timeout", "600"]
    run(*arguments, "--match", "other/.*")
    tests = json.loads(state.read_text(encoding="utf-8"))["9.8.7"]["other/test_spawns.py"]["tests"]
    assert tests["test_spawned"]["outcome"] == "passed", tests


@pytest.mark.slow
def test_a_folder_at_once_in_processes_that_are_replaced(checkout: Path) -> None:
    """Behind a test that leaves many process groups, and next to a file that cannot be imported."""
    state = checkout / "groups.json"
    arguments = ["--checkout", str(checkout), "--ranks", "2", "--state", str(state), "--match", "groups/.*"]
    run(*arguments, "--together")
    results = json.loads(state.read_text(encoding="utf-8"))["9.8.7"]
    outcomes = {
        name: {test: found["reason"] or found["outcome"] for test, found in result["tests"].items()}
        for name, result in results.items()
    }
    assert outcomes == {
        "groups/test_broken.py": {"(collection)": "needs the package no_such_package"},
        "groups/test_groups.py": {"test_many": "passed", "test_after": "passed"},
        "groups/test_plain.py": {"test_after": "passed"},
    }
    assert [result["runs"] for result in results.values()] == [2, 2, 2]


@pytest.mark.slow
def test_of_the_original_that_start_their_ranks(checkout: Path, tmp_path: Path) -> None:
    for name, text in (
        ("setup.py", "__version__ = '1.2.3'\n"),
        ("mindspeed/__init__.py", "raise ImportError('the original itself')\n"),
        ("tests_extend/__init__.py", ""),
        ("tests_extend/conftest.py", OPTIONS),
        ("tests_extend/unit_tests/features/test_starts.py", STARTS),
        ("tests_extend/unit_tests/features/test_missing.py", MISSING),
        ("tests_extend/unit_tests/qat/conftest.py", MISSING),
        ("tests_extend/unit_tests/qat/test_behind_it.py", "def test_one():\n    pass\n"),
        ("tests_extend/unit_tests/ops/triton/test_left_out.py", MISSING),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    state, page, mark_of = tmp_path / "state.json", tmp_path / "page.md", " --suite mindspeed"
    page.write_text(f"{mark('BEGIN', mark_of)}\n{mark('END', mark_of)}\n", encoding="utf-8")
    arguments = ["--suite", "mindspeed", "--checkout", str(tmp_path), "--megatron", str(checkout)]
    run(*arguments, "--state", str(state), "--test-timeout", "200", "--write", str(page))
    results = json.loads(state.read_text(encoding="utf-8"))["1.2.3"]
    outcomes = {
        name: {test: (found["outcome"], found["reason"]) for test, found in result["tests"].items()}
        for name, result in results.items()
    }
    assert outcomes == {
        "features/test_starts.py": {"test_ranks": ("passed", ""), "test_slow": ("passed", "")},
        **{
            name: {"(collection)": ("failed", "asks for `mindspeed.core.qat`, which is not here")}
            for name in ("features/test_missing.py", "qat/test_behind_it.py")
        },
    }
    written = page.read_text(encoding="utf-8")
    assert "### MindSpeed 1.2.3\n\n3 files: 2 tests pass, 2 fail" in written
    assert "| 1 | features/test_missing.py | asks for `mindspeed.core.qat`, which is not here |" in written


def mark(name: str, suite: str = "") -> str:
    line = next(
        line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"{name} = ")
    )
    return line.split('"')[1].format(suite)


def test_a_page_without_marks_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("text\n", encoding="utf-8")
    command = [sys.executable, str(TOOL), "--state", str(tmp_path / "none.json"), "--write", str(page)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert answer.returncode == 1 and "lacks the lines" in answer.stderr
    assert page.read_text(encoding="utf-8") == "text\n"


RECORDED = """before
{begin}

### core_v9.8.7

words

Not run yet (2 of 4 files): a/test_new.py, a/test_later.py.

| tests | file | elsewhere only: why |
|---|---|---|
| 2 | a/test_kept.py | asks for it |
| 1 | a/test_now.py | asks for it |

| tests | file | fails: why |
|---|---|---|
| 1 | a/test_kept.py | other error: `E of 3 | 4` |

| file | passed | failed | skipped | elsewhere |
|---|---|---|---|---|
| a/test_kept.py | 5 | 1 | 4 | 2 |
| a/test_now.py | 0 | 0 | 0 | 1 |

{end}
after
"""


def test_a_page_keeps_the_rows_of_files_that_the_state_has_not(tmp_path: Path) -> None:
    state, page = tmp_path / "state.json", tmp_path / "page.md"
    page.write_text(RECORDED.format(begin=mark("BEGIN"), end=mark("END")), encoding="utf-8")
    passed = {"outcome": "passed", "reason": "", "line": "", "elsewhere": False, "ranks": ""}
    failed = {**passed, "outcome": "failed", "reason": "other error", "line": "ValueError: no | way"}
    results = {
        "a/test_now.py": {"name": "a/test_now.py", "tests": {"test_one": passed, "test_two": failed}},
        "a/test_new.py": {"name": "a/test_new.py", "tests": {"test_one": passed}},
    }
    state.write_text(json.dumps({"9.8.7": results}), encoding="utf-8")
    command = [sys.executable, str(TOOL), "--state", str(state), "--write", str(page)]
    for _ in range(2):  # the second time from its own page, without what the state said
        subprocess.run(command, check=True, timeout=300)
        written = page.read_text(encoding="utf-8")
        state.unlink(missing_ok=True)
        assert "3 files: 7 tests pass, 2 fail, 4 skip themselves; 2 ask for" in written
        for row in (
            "a/test_kept.py | 5 | 1 | 4 | 2",
            "a/test_now.py | 1 | 1 | 0 | 0",
            "a/test_new.py | 1 | 0 | 0 | 0",
            "2 | a/test_kept.py | asks for it",
            "1 | a/test_kept.py | other error: `E of 3 | 4`",
            "1 | a/test_now.py | other error: `ValueError: no / way`",
        ):
            assert written.count(f"\n| {row} |\n") == 1, row
        assert "1 | a/test_now.py | asks for it" not in written
        assert "Not run yet (1 of 4 files): a/test_later.py." in written
