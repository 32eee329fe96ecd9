#!/usr/bin/env python3
"""Run op-plugin's operator tests against the installed libraries; report by folder, file and reason.

The tests are not ours and are not copied: give a checkout of github.com/Ascend/op-plugin. Needs torch, torch_npu,
the mindspeed wheel, and what the tests import (numpy, expecttest, scipy, 'ml_dtypes<0.6', en_dtypes, einops). Results
are kept in build/conformance.json, so that the tests can be run in parts, and files again that were mended.

torch is imported once; each test file runs in a child process forked from there, with a time limit. Tests that fail
there are run again, each in a process of its own, so that a crash, or what one test leaves behind, does not fail the
next one. A test says for which SoC it is: what the first one of --soc skips runs on the next. Tests that their authors skip
(most of them until a newer release of the vendor's) run too, and are counted apart.

Many of the tests first cast their tensors to a storage format that only the NPU's matrix unit knows (FRACTAL_NZ,
NC1HWC0). Virtual NPUs refuse those casts by name. With --base-formats such a cast gives the tensor itself, so that
the operator under test is tested with the format that it has in ordinary programs.

    python tools/conformance.py --checkout ../op-plugin --base-formats --write docs/conformance.md
    python tools/conformance.py --checkout ../op-plugin --base-formats --match 'test_add.*' --verbose
    python tools/conformance.py --write docs/conformance.md          # only the report
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing as mp
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import unittest
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from conformance_page import report, write_below_mark
from conformance_reasons import is_conclusive

FOLDERS = ("test/test_custom_ops", "test/test_base_ops")
SOCS = ("Ascend910B2", "Ascend950PR_9589")
STATE = Path("build/conformance.json")
KEPT_TEXT = 3000  # characters of an error: its end says what it is
WRONG_SOC = r"Only run on .*, current device is"
# Set on a test function in place of skipping it.
AUTHORS_SKIP = "authors_skip"


@dataclass
class Outcome:
    """Of one test: passed, failed or skipped; the end of its error or why it is skipped; on which SoC."""

    test: str
    kind: str
    text: str = ""
    soc: str = ""
    authors_skip: str = ""  # the reason for which its authors skip it, though it ran


@dataclass
class FileResult:
    tests: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0

    def count(self, kind: str) -> int:
        return sum(1 for t in self.tests if t.kind == kind)


def flatten(suite: unittest.TestSuite) -> list[unittest.TestCase]:
    tests: list[unittest.TestCase] = []
    for item in suite:
        tests += flatten(item) if isinstance(item, unittest.TestSuite) else [item]
    return tests


def run_test(test: unittest.TestCase) -> tuple[str, str]:
    """Run one test here: (kind, text).

    It has not passed if an operator of it fails later, unseen because its result is not read.
    """
    import torch

    outcome = unittest.TextTestRunner(stream=io.StringIO(), verbosity=0).run(test)
    problems = [text for _, text in [*outcome.failures, *outcome.errors]]
    try:
        torch.npu.synchronize()
    except RuntimeError:
        problems.append(traceback.format_exc())
    if problems:
        return "failed", problems[0]
    return ("skipped", outcome.skipped[0][1]) if outcome.skipped else ("passed", "")


def answers_of_fork(tests: Iterable[unittest.TestCase]) -> Iterable[tuple[str, str]]:
    """Run the tests in one forked child and give each answer as it comes; fewer than tests if the child dies."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        with os.fdopen(write_end, "w", buffering=1) as out:
            for test in tests:
                try:
                    answer = run_test(test)
                except BaseException:
                    answer = ("failed", traceback.format_exc())
                out.write(json.dumps(answer) + "\n")
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as lines:
        for line in lines:
            yield tuple(json.loads(line))
    os.waitpid(pid, 0)


def run_alone(test: unittest.TestCase) -> tuple[str, str]:
    return next(iter(list(answers_of_fork([test]))), ("failed", "its process ended without an answer"))


def skip_of(test: unittest.TestCase) -> str:
    method = getattr(test, test._testMethodName, None)
    return getattr(method, AUTHORS_SKIP, "") or getattr(test, AUTHORS_SKIP, "")


def run_each(tests: list[unittest.TestCase], tell: Callable[[unittest.TestCase, str, str], None]) -> None:
    """All in one child first, then what was not reached, or failed and may not by itself, in children of their own."""
    import torch

    if torch.npu.is_initialized():  # by importing the file: a fork has no device
        for test in tests:
            tell(test, *run_test(test))
        return
    known = set()
    for test, (kind, text) in zip(tests, answers_of_fork(tests), strict=False):
        if kind != "failed" or is_conclusive(text):
            known.add(test.id())
            tell(test, kind, text)
    for test in tests:
        if test.id() not in known:
            tell(test, *run_alone(test))


def run_file(path: Path, soc: str, only: set[str] | None, write: Callable[[Outcome], object]) -> None:
    """In a child: run the file's unittest cases. All are told as failed before they run, by the time limit."""
    sys.path.insert(0, str(path.parent))
    os.chdir(path.parent)
    try:
        suite = unittest.defaultTestLoader.loadTestsFromName(path.stem)
    except BaseException:
        text = traceback.format_exc()
        write(Outcome("(import)", "skipped" if "SkipTest" in text else "failed", text[-KEPT_TEXT:], soc))
        return

    def tell(test: unittest.TestCase, kind: str, text: str) -> None:
        write(Outcome(test.id(), kind, text[-KEPT_TEXT:], soc, skip_of(test)))

    tests = [t for t in flatten(suite) if only is None or t.id() in only]
    for test in tests:
        tell(test, "failed", "not reached in the time limit")
    run_each(tests, tell)


def child_main(path: Path, soc: str, only: set[str] | None, out: str) -> None:
    os.setpgid(0, 0)  # with its own children it ends as one group, also when its time is over
    with open(out + ".log", "w", encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    with open(out, "w", encoding="utf-8", buffering=1) as answers:
        run_file(path, soc, only, lambda outcome: answers.write(json.dumps(asdict(outcome)) + "\n"))
    os._exit(0)


@dataclass
class Running:
    process: mp.process.BaseProcess
    path: Path
    out: str
    started: float


def collect(child: Running, soc: str) -> FileResult:
    """What a child has told; of a test that it told twice the last."""
    lines = Path(child.out).read_text(encoding="utf-8").splitlines() if Path(child.out).exists() else []
    told = {outcome["test"]: Outcome(**outcome) for outcome in map(json.loads, lines)}
    if not told and child.process.exitcode != 0:
        told[""] = Outcome("(whole file)", "failed", f"process ended with {child.process.exitcode}", soc)
    return FileResult(list(told.values()), time.monotonic() - child.started)


def kill_group(process: mp.process.BaseProcess) -> None:
    assert process.pid is not None
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:  # it has not made its group yet
        process.kill()
    process.join()


def run_all(
    wanted: dict[Path, set[str] | None], soc: str, jobs: int, timeout: float
) -> Iterable[tuple[Path, FileResult]]:
    context = mp.get_context("fork")
    waiting = list(reversed(wanted.items()))
    running: list[Running] = []
    with tempfile.TemporaryDirectory() as scratch:
        while waiting or running:
            while waiting and len(running) < jobs:
                path, only = waiting.pop()
                out = os.path.join(scratch, path.stem)
                process = context.Process(target=child_main, args=(path, soc, only, out))
                process.start()
                running.append(Running(process, path, out, time.monotonic()))
            time.sleep(0.05)
            for child in list(running):
                if time.monotonic() - child.started > timeout:
                    kill_group(child.process)
                if not child.process.is_alive():
                    child.process.join()
                    running.remove(child)
                    yield child.path, collect(child, soc)


def keep_base_formats() -> None:
    """Make the cast to a storage format give its input, in torch_npu and in its test helpers."""
    import torch
    import torch_npu

    def unchanged(tensor: torch.Tensor, *_args: object, **_kwargs: object) -> torch.Tensor:
        return tensor

    for owner in (torch_npu, torch):
        owner.npu_format_cast = unchanged  # type: ignore[attr-defined]
    torch.Tensor.npu_format_cast = unchanged  # type: ignore[attr-defined]


def note_skips() -> None:
    """Make `@unittest.skip` note its reason on the test, which runs."""

    def skip(reason: str) -> Callable[[object], object]:
        def noted(test: object) -> object:
            setattr(test, AUTHORS_SKIP, reason or "no reason given")
            return test

        return noted

    unittest.skip = skip  # type: ignore[assignment]


def worker(args: argparse.Namespace) -> int:
    """The process of one SoC: files and their tests come as JSON, results leave as lines of JSON."""
    import torch_npu
    import torch_npu.testing.testcase  # noqa: F401

    if args.base_formats:
        keep_base_formats()
    note_skips()
    wanted = {Path(path): None if only is None else set(only) for path, only in json.load(sys.stdin).items()}
    for path, result in run_all(wanted, args.worker, args.jobs, args.timeout):
        print(json.dumps([str(path), asdict(result)]), flush=True)
    return 0


def results_on(
    soc: str, wanted: dict[str, list[str] | None], args: argparse.Namespace
) -> Iterable[tuple[Path, FileResult]]:
    command = [sys.executable, __file__, "--worker", soc, "--jobs", str(args.jobs)]
    command += ["--timeout", str(args.timeout)] + ["--base-formats"] * args.base_formats
    environment = dict(os.environ, MINDSPEED_SOC=soc)
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin and process.stdout
        process.stdin.write(json.dumps(wanted))
        process.stdin.close()
        for line in process.stdout:
            path, result = json.loads(line)
            tests = [Outcome(**t) for t in result["tests"]]
            yield Path(path), FileResult(tests, result["seconds"])


def merge(first: FileResult, later: FileResult) -> FileResult:
    """A test has the outcome of the SoC that it ran on."""
    known = {t.test: t for t in first.tests}
    for test in later.tests:
        if test.kind != "skipped":
            known[test.test] = test
    return FileResult(list(known.values()), first.seconds + later.seconds)


def skipped_for_soc(result: FileResult) -> list[str]:
    return [t.test for t in result.tests if t.kind == "skipped" and re.search(WRONG_SOC, t.text)]


def run_folder(folder: str, args: argparse.Namespace, state: dict) -> None:
    paths = sorted((args.checkout / folder).resolve().glob("test_*.py"))
    state.setdefault("files", {})[folder] = [p.name for p in paths]
    wanted: dict[str, list[str] | None] = {str(p): None for p in paths if re.fullmatch(args.match, p.stem)}
    results: dict[str, FileResult] = {}
    for soc in args.soc.split(","):
        for done, (path, result) in enumerate(results_on(soc, wanted, args), 1):
            name = path.name
            results[name] = merge(results[name], result) if name in results else result
            state["folders"].setdefault(folder, {})[name] = asdict(results[name])
            STATE.parent.mkdir(exist_ok=True)
            STATE.write_text(json.dumps(state), encoding="utf-8")
            show(f"[{soc} {done}/{len(wanted)}] {name}", result, args.verbose)
        wanted = {str(p): skipped_for_soc(results[p.name]) for p in paths if p.name in results}
        wanted = {path: tests for path, tests in wanted.items() if tests}


def show(what: str, result: FileResult, verbose: bool) -> None:
    print(f"{what}: {result.count('passed')} passed, {result.count('failed')} failed", flush=True)
    for test in result.tests:
        if verbose and test.kind == "failed":
            print(f"    {test.test}: {test.text.strip()[-300:]}", flush=True)


def commit_of(checkout: Path) -> str:
    answer = subprocess.run(
        ["git", "-C", str(checkout), "rev-parse", "--short=8", "HEAD"], capture_output=True, text=True
    )
    return answer.stdout.strip()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkout", type=Path, help="a checkout of op-plugin; without it only the report")
    parser.add_argument("--commit", default="", help="of the checkout, where it is no repository of git")
    parser.add_argument(
        "--under", action="append", help=f"folder of the checkout (default: {' and '.join(FOLDERS)})"
    )
    parser.add_argument("--match", default=".*", help="only files whose name matches this regular expression")
    parser.add_argument(
        "--soc", default=",".join(SOCS), help="names of SoCs, in order (default: %(default)s)"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="files at a time")
    parser.add_argument(
        "--timeout", type=float, default=120, help="seconds for one file (default: %(default)s)"
    )
    parser.add_argument("--write", type=Path, help="write the report (Markdown) into this page")
    parser.add_argument(
        "--base-formats", action="store_true", help="tensors keep their base format (see above)"
    )
    parser.add_argument("--verbose", action="store_true", help="print each failure")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    args = arguments()
    if args.worker:
        return worker(args)
    state = json.loads(STATE.read_text(encoding="utf-8")) if STATE.exists() else {"folders": {}}
    if args.checkout:
        state["commit"] = args.commit or commit_of(args.checkout)
        state["date"] = time.strftime("%Y-%m-%d")
        for folder in args.under or FOLDERS:
            run_folder(folder, args, state)
    text = report(state)
    if args.write:
        write_below_mark(args.write, text)
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
