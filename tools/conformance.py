#!/usr/bin/env python3
"""Run op-plugin's operator tests against the installed libraries and report by file and by reason.

The tests are not ours and are not copied: give a checkout of github.com/Ascend/op-plugin. Needs torch, torch_npu,
the mindspeed wheel, and what the tests import (numpy, expecttest, ...). torch is imported once; each test file runs
in a child process forked from there, with a time limit. Tests that fail there are run again, each in a process of its
own, so that a crash, or what one test leaves behind, does not fail the next one.

Many of the tests first cast their tensors to a storage format that only the NPU's matrix unit knows (FRACTAL_NZ,
NC1HWC0). Virtual NPUs refuse those casts by name. With --base-formats such a cast gives the tensor itself, so that
the operator under test is tested with the format that it has in ordinary programs.

    python tools/conformance.py --checkout ../op-plugin --base-formats --write docs/conformance.md
    python tools/conformance.py --checkout ../op-plugin --match 'test_add.*' --verbose
"""

from __future__ import annotations

import argparse
import collections
import io
import json
import multiprocessing as mp
import os
import re
import signal
import sys
import tempfile
import time
import traceback
import unittest
from dataclasses import asdict, dataclass, field
from pathlib import Path

MISSING, BY_NAME = "aclnn operator missing: ", "operator by name (aclop): "
# Reason by what the error says, first match wins.
REASONS: tuple[tuple[str, str], ...] = (
    (r"(aclnn\w+)(?:GetWorkspaceSize)? (?:or \S+ )?not (?:in|found)", MISSING + r"\1"),
    (r"operator (?:type|name is) ['\"]?(Identity|TransData)\b", "private storage format"),
    (r"aclop\w+: operator type (\w+) is not available", BY_NAME + r"\1"),
    (r"aclop\w+: operator (\w+): ", r"error from operator by name \1"),
    (r"No module named '(\S+)'", r"Python module missing: \1"),
    (
        r"found at least two devices,.*does not match",
        "the test wants the error text of another version of torch",
    ),
    (r"(aclnn\w+): [^\n]*not supported", r"refused: \1"),
    (r"(aclnn\w+): ", r"error from \1"),
    (r"Tensor-likes are not close|not equal|AssertionError|Mismatch|mismatch", "result differs"),
    (
        r"not (?:been )?(?:implemented|supported)|not support",
        "not supported by torch_npu for this SoC or input",
    ),
)
# What the report writes stands below this line; above it, text written by hand stays.
MARK = "<!-- Below: written by tools/conformance.py -->"


@dataclass
class FileResult:
    """Outcome of one test file: counts, and (test, reason, last line of the error) of each failure."""

    name: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    failures: list[tuple[str, str, str]] = field(default_factory=list)

    def fail(self, test: str, text: str) -> None:
        self.failed += 1
        last = next((line for line in reversed(text.strip().splitlines()) if line.strip()), "")
        self.failures.append((test, reason_of(text), last.strip()[:200]))


def reason_of(text: str) -> str:
    for pattern, reason in REASONS:
        found = re.search(pattern, text)
        if found:
            return found.expand(reason)
    return "other error"


def flatten(suite: unittest.TestSuite) -> list[unittest.TestCase]:
    tests: list[unittest.TestCase] = []
    for item in suite:
        tests += flatten(item) if isinstance(item, unittest.TestSuite) else [item]
    return tests


def run_test(test: unittest.TestCase) -> tuple[str, str]:
    """Run one test here: ('passed' | 'skipped' | 'failed', error text).

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
    return ("skipped" if outcome.skipped else "passed"), ""


def run_together(tests: list[unittest.TestCase]) -> list[str]:
    """All of them in one forked child; those it did not get to, because it died, count as failed."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        with os.fdopen(write_end, "w", buffering=1) as out:
            for test in tests:
                try:
                    kind = run_test(test)[0]
                except BaseException:
                    kind = "failed"
                out.write(kind + "\n")
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as answers:
        kinds = answers.read().split()
    os.waitpid(pid, 0)
    return kinds + ["failed"] * (len(tests) - len(kinds))


def run_forked(test: unittest.TestCase) -> tuple[str, str]:
    """The same in a forked child."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            answer = json.dumps(run_test(test))
        except BaseException:
            answer = json.dumps(("failed", traceback.format_exc()))
        with os.fdopen(write_end, "w") as out:
            out.write(answer)
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as answer_file:
        text = answer_file.read()
    status = os.waitpid(pid, 0)[1]
    return tuple(json.loads(text)) if text else ("failed", f"process ended with status {status}")


def run_file(path: Path) -> FileResult:
    """In a child: run the file's unittest cases, each in a child of its own."""
    result = FileResult(path.name)
    sys.path.insert(0, str(path.parent))
    os.chdir(path.parent)
    try:
        suite = unittest.defaultTestLoader.loadTestsFromName(path.stem)
    except BaseException:
        result.fail("(import)", traceback.format_exc())
        return result
    tests = flatten(suite)
    together = run_together(tests)
    for test, kind in zip(tests, together, strict=True):
        text = ""
        if kind == "failed":
            kind, text = run_forked(test)
        if kind == "failed":
            result.fail(test.id().rpartition(".")[2], text)
        elif kind == "skipped":
            result.skipped += 1
        else:
            result.passed += 1
    return result


def child_main(path: str, out: str) -> None:
    os.setpgid(0, 0)  # with its own children it ends as one group, also when its time is over
    with open(out + ".log", "w", encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        result = run_file(Path(path))
    Path(out).write_text(json.dumps(asdict(result)), encoding="utf-8")
    os._exit(0)


@dataclass
class Running:
    process: mp.process.BaseProcess
    path: Path
    out: str
    started: float


def collect(child: Running, timed_out: bool) -> FileResult:
    out = Path(child.out)
    if out.exists():
        result = FileResult(**json.loads(out.read_text(encoding="utf-8")))
        result.failures = [tuple(f) for f in result.failures]  # type: ignore[misc]
    else:
        result = FileResult(child.path.name)
        why = "time limit" if timed_out else f"process ended with exit code {child.process.exitcode}"
        result.failed = 1
        result.failures.append(("(whole file)", why, why))
    result.seconds = time.monotonic() - child.started
    return result


def kill_group(process: mp.process.BaseProcess) -> None:
    assert process.pid is not None
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:  # it has not made its group yet
        process.kill()
    process.join()


def run_all(paths: list[Path], jobs: int, timeout: float, verbose: bool) -> list[FileResult]:
    context = mp.get_context("fork")
    waiting, running, results = list(reversed(paths)), [], []
    with tempfile.TemporaryDirectory() as scratch:
        while waiting or running:
            while waiting and len(running) < jobs:
                path = waiting.pop()
                out = os.path.join(scratch, path.stem)
                process = context.Process(target=child_main, args=(str(path), out))
                process.start()
                running.append(Running(process, path, out, time.monotonic()))
            time.sleep(0.02)
            for child in list(running):
                late = time.monotonic() - child.started > timeout
                if late:
                    kill_group(child.process)
                if not child.process.is_alive():
                    child.process.join()
                    running.remove(child)
                    results.append(collect(child, late))
                    show(results[-1], len(results), len(paths), verbose)
    return sorted(results, key=lambda r: r.name)


def show(result: FileResult, done: int, total: int, verbose: bool) -> None:
    print(f"[{done}/{total}] {result.name}: {result.passed} passed, {result.failed} failed", flush=True)
    if verbose:
        for test, reason, line in result.failures:
            print(f"    {test}: {reason}: {line}")


def keep_base_formats() -> None:
    """Make the cast to a storage format give its input, in torch_npu and in its test helpers."""
    import torch
    import torch_npu

    def unchanged(tensor: torch.Tensor, *_args: object, **_kwargs: object) -> torch.Tensor:
        return tensor

    for owner in (torch_npu, torch):
        owner.npu_format_cast = unchanged  # type: ignore[attr-defined]
    torch.Tensor.npu_format_cast = unchanged  # type: ignore[attr-defined]


def table(counts: collections.Counter[str], prefix: str = "") -> list[str]:
    chosen = [(name, n) for name, n in counts.most_common() if name.startswith(prefix)]
    return [f"| {n} | {name.removeprefix(prefix)} |" for name, n in chosen]


def by_name(counts: collections.Counter[str], prefix: str) -> str:
    """`Renorm` 41, `Cdist` 23, ..."""
    chosen = [(name.removeprefix(prefix), n) for name, n in counts.items() if name.startswith(prefix)]
    return ", ".join(f"`{name}` {n}" for name, n in sorted(chosen, key=lambda item: (-item[1], item[0])))


def report(results: list[FileResult], command: str) -> str:
    reasons: collections.Counter[str] = collections.Counter(f[1] for r in results for f in r.failures)
    missing = sum(n for reason, n in reasons.items() if reason.startswith(MISSING))
    named = sum(n for reason, n in reasons.items() if reason.startswith(BY_NAME))
    rest = collections.Counter({k: n for k, n in reasons.items() if not k.startswith((MISSING, BY_NAME))})
    whole = sum(1 for r in results if r.failed == 0 and r.passed > 0)
    skipped_whole = sum(1 for r in results if r.failed == 0 and r.passed == 0)
    passed, failed = sum(r.passed for r in results), sum(r.failed for r in results)
    lines = [
        MARK, "", f"`{command}`", "",
        f"Files: {len(results)}; {whole} pass whole, {skipped_whole} are skipped whole by themselves. Tests: {passed} "
        f"passed, {failed} failed, {sum(r.skipped for r in results)} skipped.", "",
        "| tests | reason |", "|---|---|",
        f"| {named} | operator by name (aclop), which virtual NPUs do not have |",
        f"| {missing} | aclnn operator missing |",
        *table(rest), "",
        "## Operators by name", "", by_name(reasons, BY_NAME) or "none", "",
        "## aclnn operators", "", by_name(reasons, MISSING) or "none", "",
        "## Other failures", "", "| file | test | reason | last line |", "|---|---|---|---|",
    ]  # fmt: skip
    for r in results:
        for test, reason, line in r.failures:
            if not reason.startswith((MISSING, BY_NAME)):
                text = re.sub(r"\[ERROR\] \S+ \(PID[^)]*\) ", "", line).replace("|", "/")[:120]
                lines.append(f"| {r.name} | {test} | {reason} | {text} |")
    lines += [
        "",
        "## Files that do not pass whole",
        "",
        "| file | passed | failed | skipped |",
        "|---|---|---|---|",
    ]
    lines += [f"| {r.name} | {r.passed} | {r.failed} | {r.skipped} |" for r in results if r.failed > 0]
    return "\n".join(lines) + "\n"


def write_below_mark(path: Path, text: str) -> None:
    above = path.read_text(encoding="utf-8").partition(MARK)[0] if path.is_file() else ""
    path.write_text(above + text, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkout", type=Path, required=True, help="a checkout of op-plugin")
    parser.add_argument(
        "--under", default="test/test_base_ops", help="folder of the checkout (default: %(default)s)"
    )
    parser.add_argument("--match", default=".*", help="only files whose name matches this regular expression")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="files at a time")
    parser.add_argument("--timeout", type=float, default=120, help="seconds for one file")
    parser.add_argument("--write", type=Path, help="write the report (Markdown) here")
    parser.add_argument("--json", type=Path, help="write every result here")
    parser.add_argument(
        "--base-formats", action="store_true", help="tensors keep their base format (see above)"
    )
    parser.add_argument("--verbose", action="store_true", help="print each failure")
    args = parser.parse_args()
    folder = args.checkout / args.under
    paths = sorted(p for p in folder.glob("test_*.py") if re.fullmatch(args.match, p.stem))
    if not paths:
        parser.error(f"no test file in {folder} matches {args.match}")
    import torch_npu
    import torch_npu.testing.testcase  # noqa: F401

    if args.base_formats:
        keep_base_formats()
    results = run_all([p.resolve() for p in paths], args.jobs, args.timeout, args.verbose)
    options = " --base-formats" if args.base_formats else ""
    text = report(results, f"python tools/conformance.py --checkout CHECKOUT --under {args.under}{options}")
    print(text.partition("## Other failures")[0])
    if args.write:
        write_below_mark(args.write, text)
    if args.json:
        args.json.write_text(json.dumps([asdict(r) for r in results]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
