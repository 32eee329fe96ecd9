#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Run Megatron-LM's own unit tests, or the original MindSpeed's, on virtual NPUs and report by file and by reason.

The tests are not ours and are not copied: give a checkout of github.com/NVIDIA/Megatron-LM at a release. Each file runs as
under `torchrun --nproc-per-node 8 -m pytest -p PLUGIN FILE`; the plugin is the two lines of a training script, `import torch`
and `import mindspeed.megatron_adaptor`, and notes what happens on each rank. These are imported once, with Megatron: the ranks
of each file are forked from there, which saves most of the time that short tests take.

A test has passed when it has on every rank. One that fails on one rank often leaves the others in a collective, so tests after
it mean nothing: what failed or was not reached runs again in new processes until nothing more passes. Neither does a run reach
all tests of a file that make many process groups (see the plugin). Results are kept in a file (--state), by
version of Megatron: a file of tests that is in it is not run again without --again, so the tests can be run in parts. --write
puts them into a page next to the rows that the page has of other files, so it goes on also where another state began.

    python tools/megatron_unit_tests.py --checkout ../Megatron-LM --match 'tensor_parallel/.*'
    python tools/megatron_unit_tests.py --checkout ../Megatron-LM --write docs/conformance.md
    python tools/megatron_unit_tests.py --write docs/conformance.md          # only the report

Megatron's own FSDP (distributed/megatron_fsdp) asks for CUDA_DEVICE_MAX_CONNECTIONS=8 around the run.

--suite mindspeed runs tests_extend/unit_tests of the original MindSpeed, over a checkout of Megatron-LM. These start their ranks
themselves, from a server of processes, which has all imports here: a file is one process of pytest.

    python tools/megatron_unit_tests.py --suite mindspeed --checkout ../MindSpeed --megatron ../Megatron-LM --match 'megatron/.*'
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import gc
import importlib
import itertools
import json
import multiprocessing.forkserver
import multiprocessing.util
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest
import torch
from megatron_unit_tests_page import Report, Row, update
from megatron_unit_tests_suites import MEGATRON, SUITES, Suite

SITE = Path(__file__).with_name("megatron_unit_tests_site")
TIME_LIMIT = "time limit"
LAST_WORDS = 30  # seconds for the other ranks when one has been killed
# Reason by what the error says, first match wins. Those in the first group ask for what no NPU is, or for what only the
# authors' machines have, and do not count.
ELSEWHERE: tuple[tuple[str, str], ...] = (
    # Before all that may stand in the lines around an error.
    (
        r"OutOfMemoryError: NPU out of memory",
        "needs more memory than the machine of these tests has for eight devices",
    ),
    (r"(?m)^>.*(\.type == ['\"]cuda['\"]|\.is_cuda)", "asks whether a tensor's device is CUDA"),
    (r"name 'nvtx' is not defined", "needs the package nvtx"),
    (
        r"RefusedError: .*fp8|fp8.*RefusedError",
        "tensors in fp8, which the stand-in for Transformer Engine refuses",
    ),
    (r"RefusedError: the Triton kernel", "asks for a kernel in Triton, which virtual NPUs refuse"),
    (r"has no attribute '_nccl_version'", "asks for the version of NCCL"),
    (r"no attribute 'modelopt_gpt_mamba_builder'", "needs the package modelopt"),
    (
        r"== baseline_reduce_scatter_in_fp32",
        "wants sums of bfloat16 over ranks to be less exact than in float32, where HCCL here adds",
    ),
    (r"should be fp64 when enabled", "asks for float64, which torch_npu turns into float32"),
    (r"[Ii]nstall package `(\w+)`", r"needs the package \1, which is not public"),
    (r"No module named '((?!mindspeed|tests_extend)\S+)'", r"needs the package \1"),
    (r"No package metadata was found for (\w+)", r"needs the package \1"),
    (
        r"NameResolutionError|Max retries exceeded with url",
        "downloads files, and the machine of these tests has no network",
    ),
    (r"No such file or directory: '/opt/data|/opt/data", "reads files of the authors' machines (/opt/data)"),
)
# The same for single tests, by file::test and the line of the error: what cannot hold with the release itself, on any device.
SINGLE: tuple[tuple[str, str, str], ...] = (
    (
        "dist_checkpointing/test_fully_parallel.py::.*test_memory_usage.*",
        r"assert 0 == \(7 \* 10\)",
        "counts exchanges of tensors that one rank alone needs, which the release skips (the authors mark it flaky)",
    ),
    (
        "inference/text_generation_controllers/test_simple_text_generation_controller.py::.*test_sample_from_logits",
        r"-2\.352123260\.* *.*-2\.352122306",
        "wants the last bits of a float32 log-softmax of another device, 7.5e-7 off float64 (here 2.0e-7)",
    ),
    (
        "transformer/moe/test_aux_loss.py::.*test_padding_mask_with_z_loss.*",
        "assert False",
        "wants gradients of float32 that sum to zero but for rounding (5.8e-8 on PyTorch's CPU too) to be zero",
    ),
    (
        r"transformer/moe/test_routers.py::test_router_gating_linear.*dtype2\]",
        "float32 == torch.float64",
        "asks for float64, which torch_npu turns into float32",
    ),
    (
        "models/test_bert_model.py::.*test_transformer_engine_version_1_7_to_1_10_rng_error",
        "DID NOT RAISE",
        "wants an argument to be refused that Transformer Engine takes (the authors mark it flaky)",
    ),
    (
        "distributed/test_grad_sync_with_expert_parallel.py::.*",
        "Bias is not supported for MoE",
        "makes experts with biases, which the release refuses (the authors mark it flaky)",
    ),
    (
        r"transformer/moe/test_moe_layer.py::.*test_moe_with_late_initialize\[2-2-\w+-alltoall\]",
        "",
        "every rank takes itself for the first of its expert group, so ranks exchange other numbers of tokens than their peers "
        "expect: an error here, by the interface undefined",
    ),
    (
        "dist_checkpointing/test_optimizer.py::.*test_dp_sharding.*",
        "'ChainedOptimizer' object has no attribute|Either config.fp16 or config.bf16 should be True",
        "asks a chain of optimizers for what one has, and 16-bit models for float32 (the authors mark it flaky)",
    ),
    (
        r"test_parallel_state.py::test_different_initialize_order_unconsistency\[src_tp_pp\d-2\]",
        "the data parallel size of the attention and moe layers must be the same",
        "asks for an order of ranks that the release refuses with experts (the authors mark it flaky)",
    ),
    (
        "dist_checkpointing/test_serialization.py::.*test_remove_sharded_tensors",
        "'NoneType' object has no attribute 'keys'",
        "the release's own mistake: it takes the plan of a checkpoint for a dictionary, and saves none (mended in later ones)",
    ),
    (
        "dist_checkpointing/test_serialization.py::.*test_remove_sharded_tensors",
        "'FileSystemWriter' object has no attribute 'metadata_path'",
        "asks PyTorch for a name that 2.13 no longer has, FileSystemWriter.metadata_path (the authors mark it flaky)",
    ),
    (
        "data/test_preprocess_data.py::.*",
        TIME_LIMIT,
        "reads files of the authors' machines (/opt/data), without which worker processes fail and are started anew for ever",
    ),
    (
        r"inference/engines/test_dynamic_engine.py::.*test_simple\[.*-None-gpt\]",
        "request 0, result .* != expected",
        "wants the tokens that random weights of another device give",
    ),
    (
        r"inference/engines/test_dynamic_engine.py::.*test_simple\[.*-[14]-gpt\]",
        "error code is 107027",
        "captures attention over a cache, whose lengths the stand-in for flash-attn reads on the host; without graphs its tokens "
        "are those of another device's random weights",
    ),
    (
        "inference/engines/test_dynamic_engine.py::.*test_top_n_logprobs_dynamic.*",
        "log_prob mismatch",
        "its mock tokenizer has one text for all tokens, so the fifth likeliest stands for the chosen one, and is as likely with "
        "random weights of another device",
    ),
    (
        "rl/test_rl_utils.py::.*test_prepare_data_for_update.*",
        r"sends 24128 bytes of float32, rank \d receives 0 bytes of bfloat16",
        "a stage of the mock model sends its logits, the next one has hidden size 0 and receives nothing: an error here, by "
        "the interface (NCCL's as well) undefined",
    ),
    (
        "rl/test_rl_utils.py::.*test_optimizer_offload.*",
        "Expected optimizer state on GPU initially, got devices: .*npu:",
        "asks whether a tensor's device is CUDA",
    ),
)
REASONS: tuple[tuple[str, str], ...] = (
    (TIME_LIMIT, TIME_LIMIT),
    (r"process ended", "a process ended"),
    (r"RefusedError: ([^\n]{1,80})", r"refused: \1"),
    (r"(aclnn\w+): [^\n]*not supported", r"refused: \1"),
    (r"(aclnn\w+): ", r"error from \1"),
    (r"Tensor-likes are not close|not equal|AssertionError|Mismatch|mismatch", "result differs"),
)


@dataclass
class Test:
    """What became of one test: 'passed', 'failed', 'skipped', or '' while it has not ended on each rank."""

    outcome: str = ""
    reason: str = ""
    line: str = ""
    elsewhere: bool = False
    ranks: str = ""


@dataclass
class FileResult:
    name: str
    seconds: float = 0.0
    runs: int = 0
    tests: dict[str, Test] = field(default_factory=dict)

    def count(self, outcome: str) -> int:
        return sum(1 for test in self.tests.values() if test.outcome == outcome and not test.elsewhere)

    def elsewhere(self) -> int:
        return sum(1 for test in self.tests.values() if test.elsewhere)


def explain_elsewhere(test: Test, text: str) -> bool:
    for pattern, reason in ELSEWHERE:
        found = re.search(pattern, text)
        if found:
            test.reason, test.elsewhere = found.expand(reason), True
            return True
    return False


def explain(test: Test, text: str, suite: Suite = MEGATRON) -> Test:
    """Give a failure its reason by the error's text."""
    lines = [line for line in text.splitlines() if re.match(r"E\s+\S", line)] or text.strip().splitlines()
    test.line = (lines[0] if lines else "").removeprefix("E").strip()[:200]
    if explain_elsewhere(test, text):
        return test
    for pattern, reason in (*suite.missing, *REASONS):
        found = re.search(pattern, text)
        if found:
            test.reason = found.expand(reason)
            return test
    test.reason = "other error"
    return test


def settle(tests: dict[str, Test], prefix: str, suite: Suite) -> None:
    """Reasons of single tests, and those that lines of errors tell by now; `prefix` + name is file::test."""
    for name, test in tests.items():
        full = (prefix + name).removeprefix(suite.folder + "/")
        if test.outcome == "failed" and not test.elsewhere:
            explain_elsewhere(test, test.line)
        for pattern, line, reason in SINGLE:
            if test.outcome == "failed" and re.fullmatch(pattern, full) and re.search(line, test.line):
                test.reason, test.elsewhere = reason, True


@dataclass
class Rank:
    """The events of one rank."""

    collected: list[str] = field(default_factory=list)
    begun: str = ""
    ended: dict[str, tuple[str, str]] = field(default_factory=dict)


def read_rank(path: Path) -> Rank:
    rank = Rank()
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            event = json.loads(line)
        except ValueError:  # the process ended in the middle of it
            continue
        rank.collected = event.get("collected", rank.collected)
        rank.begun = event.get("begun", rank.begun)
        if "test" in event:
            rank.ended[event["test"]] = (event["outcome"], event["text"])
    return rank


def judge(name: str, ranks: list[Rank], suite: Suite) -> Test:
    """One test over all ranks; without an outcome if it has not ended on each and failed on none."""
    ended = [(i, *rank.ended[name]) for i, rank in enumerate(ranks) if name in rank.ended]
    failed = [(i, text) for i, outcome, text in ended if outcome == "failed"]
    if failed:
        where = "" if len(failed) == len(ranks) else ", ".join(str(i) for i, _ in failed)
        return explain(Test("failed", ranks=where), failed[0][1], suite)
    if len(ended) < len(ranks):
        return Test()
    outcome = "skipped" if all(outcome == "skipped" for _, outcome, _ in ended) else "passed"
    return Test(outcome, line=ended[0][2][:200] if outcome == "skipped" else "")


def judge_all(ranks: list[Rank], why: str, suite: Suite) -> dict[str, Test]:
    """All tests of a run that ended by itself, or had to be ended for the reason `why`: then the first test that a rank was
    in is to blame, and what other ranks did after it tells nothing."""
    names = list(dict.fromkeys(name for rank in ranks for name in [*rank.collected, *rank.ended]))
    tests = {name: judge(name, ranks, suite) for name in names}
    if not why:
        return tests
    stuck = [
        names.index(rank.begun) for rank in ranks if rank.begun in names and rank.begun not in rank.ended
    ]
    if not stuck:
        return {**tests, "(start or end)": explain(Test("failed"), why)}
    blamed = names[min(stuck)]
    if not tests[blamed].outcome:
        tests[blamed] = explain(Test("failed"), why)
    return {name: test if i <= min(stuck) else Test() for i, (name, test) in enumerate(tests.items())}


@dataclass(frozen=True)
class Options:
    suite: Suite
    checkout: Path  # or a folder that has its tests
    megatron: Path
    ranks: int
    timeout: float
    test_timeout: float
    logs: Path | None
    lock: Path | None


def import_once(checkout: Path, megatron: Path) -> None:
    """What every rank has in its memory when it begins."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "1")
    folders = [str(SITE), *dict.fromkeys([str(checkout), str(megatron)])]
    os.environ["PYTHONPATH"] = os.pathsep.join(folders)  # of processes that ranks spawn
    sys.path[:0] = folders
    importlib.import_module("mindspeed_plugin")
    for name in ("megatron.core.models.gpt.gpt_model", "megatron.training", "torch._dynamo"):
        with contextlib.suppress(ModuleNotFoundError):  # then the tests that need it say so
            importlib.import_module(name)
    gc.freeze()


def serve_forks(preload: Sequence[str]) -> None:
    """Python's server of processes, as a fork of this one: what comes from it has all imports.

    Otherwise it is a new program, and each of eight ranks of each class of tests would import for itself.
    """
    start = multiprocessing.util.spawnv_passfds

    def fork(path: bytes, args: list[str], passed: list[int]) -> int:
        if "multiprocessing.forkserver" not in args[-1]:
            return start(path, args, passed)
        pid = os.fork()
        if pid == 0:
            kept = sorted({0, 1, 2, *passed})
            for low, high in itertools.pairwise([*kept, os.sysconf("SC_OPEN_MAX")]):
                os.closerange(low + 1, high)
            try:
                exec(args[-1], {})  # as python -c
            finally:
                os._exit(0)
        return pid

    # A process that it makes would run this program again, to find in it what it is given.
    del sys.modules["__main__"].__file__
    multiprocessing.set_forkserver_preload(list(preload))
    multiprocessing.util.spawnv_passfds = fork
    multiprocessing.forkserver.ensure_running()
    multiprocessing.util.spawnv_passfds = start


def tell_collection(paths: list[str], log: Path) -> None:
    """pytest ended before it came to the files, as when a conftest.py next to them cannot be imported."""
    sys.stdout.flush()
    sys.stderr.flush()
    text = log.read_text(encoding="utf-8", errors="replace")[-8000:]
    with open(os.environ["UNIT_TESTS_OUT"], "a", encoding="utf-8") as out:
        for path in paths:
            event = {"test": f"{path}::(collection)", "outcome": "failed", "text": text}
            out.write(json.dumps(event) + "\n")


def log_of(rank: int, paths: list[str], scratch: Path, options: Options) -> Path:
    """Where a rank prints to, behind what it printed in earlier runs of the same file."""
    return (options.logs or scratch) / (paths[0].replace("/", "__") + f".{rank}.log")


def last_words(log: Path, start: int) -> str:
    """What a process said of the exception that ended it, from `start` of its log on."""
    text = log.read_bytes()[start:] if log.exists() else b""
    found = re.findall(rb"(?m)^\s+what\(\): +(.+)$", text)
    return ": " + found[-1].decode(errors="replace")[-160:] if found else ""


def be_rank(rank: int, port: int, paths: list[str], scratch: Path, options: Options) -> None:
    """In a forked child: what torchrun sets, then pytest. Does not return."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.setsid()  # it and its children can be ended together
    log = log_of(rank, paths, scratch, options)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(out, 1)
    os.dup2(out, 2)
    ranks = str(options.ranks)
    os.environ.update(UNIT_TESTS_OUT=str(scratch / f"rank{rank}.jsonl"), PYTEST_DEBUG_TEMPROOT=str(scratch))
    if options.suite.is_launched:
        os.environ.update(
            RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=ranks, LOCAL_WORLD_SIZE=ranks, GROUP_RANK="0",
            MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), TORCHELASTIC_USE_AGENT_STORE="True",
            TORCHELASTIC_RUN_ID="unit_tests",
        )  # fmt: skip
    os.chdir(options.checkout)
    sys.path.insert(0, "")
    code: int = 2
    try:
        if not options.suite.is_launched:
            serve_forks(options.suite.preload)
        sys.argv[:] = [
            "pytest",
            "-q",
            "-p",
            "mindspeed_plugin",
            "-p",
            "no:cacheprovider",
            "--continue-on-collection-errors",
            "--maxfail=0",  # releases from 0.16 ask for -x: every failure would cost a run
            f"--rootdir={options.checkout}",
            *options.suite.options,
            *paths,
        ]  # tests read it
        code = int(pytest.main(sys.argv[1:]))
        if code in (pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR):
            tell_collection(paths, log)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def newest(scratch: Path) -> float:
    return max((p.stat().st_mtime for p in scratch.glob("rank*.jsonl")), default=0.0)


def wait(pids: list[int], logs: list[tuple[Path, int]], scratch: Path, options: Options) -> str:
    """'' when all ranks ended by themselves, else why they were not waited for any longer."""
    began, running, why, until = time.time(), set(pids), "", 0.0
    while running:
        time.sleep(0.1)
        for pid in list(running):
            # It is only looked at: until `end` its number, also that of its session, stays its own.
            ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None:
                continue
            running.discard(pid)
            if ended.si_code != os.CLD_EXITED and not why:
                rank = pids.index(pid)
                why = f"process ended: rank {rank}, {signal.Signals(ended.si_status).name}"
                why += last_words(*logs[rank])
                until = time.time() + LAST_WORDS
        now = time.time()
        if why and now > until:
            return why
        if now - began > options.timeout:
            return why or TIME_LIMIT + f": {options.timeout:.0f} s for a file"
        if now - max(newest(scratch), began) > options.test_timeout:
            return why or TIME_LIMIT + f": {options.test_timeout:.0f} s for a test"
    return why


def end(pids: list[int]) -> None:
    """End what is left of a run: each rank leads a session of its own, with its children."""
    for pid in pids:
        for send in (os.killpg, os.kill):  # it may not have begun its session
            with contextlib.suppress(ProcessLookupError, PermissionError):
                send(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """No TemporaryDirectory: a process that a test forks and that ends as Python's own would remove ours as well."""
    folder = Path(tempfile.mkdtemp(prefix="unit_tests."))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_once(paths: list[str], only: list[str], options: Options) -> dict[str, Test]:
    with scratch_folder() as scratch:
        os.environ.pop("UNIT_TESTS_ONLY", None)
        if only:
            (scratch / "only.json").write_text(json.dumps(only), encoding="utf-8")
            os.environ["UNIT_TESTS_ONLY"] = str(scratch / "only.json")
        # As torchrun does, the store through which ranks meet is served from outside of them.
        store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        paths_of_logs = [log_of(rank, paths, scratch, options) for rank in range(options.ranks)]
        logs = [(log, log.stat().st_size if log.exists() else 0) for log in paths_of_logs]
        pids = []
        for rank in range(options.ranks):
            pid = os.fork()
            if pid == 0:
                be_rank(rank, store.port, paths, scratch, options)
            pids.append(pid)
        try:
            why = wait(pids, logs, scratch, options)
        finally:
            end(pids)
        ranks = [read_rank(scratch / f"rank{i}.jsonl") for i in range(options.ranks)]
    return judge_all(ranks, why, options.suite)


@contextlib.contextmanager
def turn(lock: Path | None) -> Iterator[None]:
    """Wait for our turn among programs that lock this file, if there is one."""
    if lock is None:
        yield
        return
    with open(lock, "a", encoding="utf-8") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def may_pass(test: Test) -> bool:
    """In other processes, after what failed or hung before it."""
    return not test.elsewhere and not test.reason.startswith("asks for ")


def run_files(paths: list[Path], options: Options) -> list[FileResult]:
    """All tests of some files, and again those that failed or were not reached, until nothing more passes."""
    relative = [str(path.relative_to(options.checkout)) for path in paths]
    whole = FileResult(relative[0])
    began = time.monotonic()
    todo: list[str] = []
    retried: set[str] = set()
    while True:
        with turn(options.lock):
            found = run_once(relative, todo, options)
        whole.runs += 1
        better = [n for n in found if found[n].outcome in ("passed", "skipped")]
        whole.tests.update({n: t for n, t in found.items() if t.outcome or n not in whole.tests})
        settle(whole.tests, "", options.suite)
        left = [n for n, t in whole.tests.items() if not t.outcome]
        failed = [n for n, t in whole.tests.items() if t.outcome == "failed" and may_pass(t)]
        new = [n for n in failed if n not in retried]
        if left and (not todo or set(left) != set(todo)):
            todo = left
        elif failed and (new or better) and len(whole.tests) > 1 and set(failed) != set(todo):
            todo = failed
            retried.update(failed)
        else:
            break
    for name in left:
        whole.tests[name] = explain(Test("failed"), "not reached: " + TIME_LIMIT)
    whole.seconds = round((time.monotonic() - began) / len(paths), 1)
    settle(whole.tests, "", options.suite)
    return split(whole, relative, options.suite)


def split(whole: FileResult, files: list[str], suite: Suite) -> list[FileResult]:
    """By file. What belongs to none (a failure of the start or the end) is told of the first."""
    results = {
        file: FileResult(file.removeprefix(suite.folder + "/"), whole.seconds, whole.runs) for file in files
    }
    for name, test in whole.tests.items():
        file, _, rest = name.partition("::")
        results.get(file, results[files[0]]).tests[rest or name] = test
    for result in results.values():
        result.tests = result.tests or {"(whole file)": Test("skipped", line="it has no tests")}
    return list(results.values())


State = dict[str, dict[str, FileResult]]


def load(path: Path, suite: Suite) -> State:
    if not path.exists():
        return {}
    kept = json.loads(path.read_text(encoding="utf-8"))
    for files in kept.values():
        for name, data in files.items():
            data["tests"] = {test: Test(**fields) for test, fields in data["tests"].items()}
            files[name] = FileResult(**data)
            settle(files[name].tests, name + "::", suite)
    return kept


def save(path: Path, state: State) -> None:
    data = {v: {name: asdict(r) for name, r in sorted(files.items())} for v, files in sorted(state.items())}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".new").write_text(json.dumps(data, indent=1), encoding="utf-8")
    path.with_suffix(".new").replace(path)


def show(result: FileResult) -> None:
    print(
        f"{result.name}: {result.count('passed')} passed, {result.count('failed')} failed, "
        f"{result.count('skipped')} skipped, {result.elsewhere()} elsewhere, {result.seconds:.0f} s in {result.runs} runs",
        flush=True,
    )
    for name, test in result.tests.items():
        if test.outcome == "failed":
            print(f"    {name}: {test.reason}: {test.line}")


def row_of(result: FileResult) -> Row:
    row = Row(*(result.count(outcome) for outcome in ("passed", "failed", "skipped")), result.elsewhere())
    for test in result.tests.values():
        if test.outcome != "failed":
            continue
        if test.elsewhere:
            row.why_elsewhere[test.reason] = row.why_elsewhere.get(test.reason, 0) + 1
        else:
            why = test.reason
            if not why.startswith("asks for "):  # the line says no more
                why += f": `{test.line[:110].replace('|', '/').replace('`', '')}`"
            row.why_failed[why] = row.why_failed.get(why, 0) + 1
    return row


def write(page: Path, kept: Path, suite: Suite, checkout: Path | None) -> None:
    state = load(kept, suite)
    found = {version: {name: row_of(r) for name, r in files.items()} for version, files in state.items()}
    known = {suite.version(checkout): below(checkout, suite, chosen(checkout, suite))} if checkout else {}
    update(page, Report(suite.mark, suite.prefix), found, known)


def below(checkout: Path, suite: Suite, paths: list[Path]) -> list[str]:
    return [str(path.relative_to(checkout / suite.folder)) for path in paths]


def chosen(checkout: Path, suite: Suite, match: str = ".*") -> list[Path]:
    root = checkout / suite.folder
    names = {path: str(path.relative_to(root)) for path in sorted(root.rglob("test_*.py"))}
    return [p for p, n in names.items() if re.fullmatch(match, n) and not re.fullmatch(suite.left_out, n)]


def run_all(match: str, kept: Path, version: str, *, again: bool, together: bool, options: Options) -> None:
    """Those that have no result yet; results are kept at once, of a file, or of a folder."""
    suite, root = options.suite, options.checkout / options.suite.folder
    done = load(kept, suite).get(version, {})
    paths = chosen(options.checkout, suite, match)
    todo = [p for p in paths if again or str(p.relative_to(root)) not in done]
    if todo:
        import_once(options.checkout, options.megatron)
    for _, group in itertools.groupby(todo, lambda path: path.parent if together else path):
        results = run_files(list(group), options)
        state = load(kept, suite)
        state.setdefault(version, {}).update({result.name: result for result in results})
        save(kept, state)
        for result in results:
            show(result)


@contextlib.contextmanager
def folder_of(checkout: Path, suite: Suite) -> Iterator[Path]:
    """Where tests run: their checkout; of one that is a MindSpeed itself, a folder that has nothing but the tests."""
    if suite.is_launched:
        yield checkout
        return
    with scratch_folder() as folder:
        top = suite.folder.partition("/")[0]
        (folder / top).symlink_to(checkout / top)
        yield folder


def interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    signal.signal(signal.SIGTERM, interrupt)  # so that ranks are ended also then
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--suite", choices=tuple(SUITES), default="megatron", help="default: %(default)s")
    parser.add_argument("--checkout", type=Path, help="a checkout of the suite; without it only the report")
    parser.add_argument("--megatron", type=Path, help="a checkout of Megatron-LM, for other suites")
    parser.add_argument(
        "--match",
        default=".*",
        help="only files whose path below the folder of tests matches this regular expression",
    )
    parser.add_argument("--again", action="store_true", help="also files that the state has results of")
    parser.add_argument(
        "--together", action="store_true", help="the files of a folder in one run, which is quicker"
    )
    parser.add_argument(
        "--ranks", type=int, default=8, help="virtual NPUs, of Megatron-LM's tests (default: %(default)s)"
    )
    parser.add_argument(
        "--timeout", type=float, default=900, help="seconds for one run of a file (default: %(default)s)"
    )
    parser.add_argument(
        "--test-timeout", type=float, default=240, help="seconds for one test (default: %(default)s)"
    )
    parser.add_argument(
        "--state",
        type=Path,
        help="results (default: build/SUITE_unit_tests.json)",
    )
    parser.add_argument("--lock", type=Path, help="lock this file while ranks run")
    parser.add_argument("--logs", type=Path, help="keep what the processes print in this folder")
    parser.add_argument(
        "--write", type=Path, help="write the report (Markdown) into this file, between its marks"
    )
    args = parser.parse_args()
    suite = SUITES[args.suite]
    kept = args.state or Path(f"build/{args.suite}_unit_tests.json")
    checkout = args.checkout and args.checkout.resolve()
    if checkout:
        if not chosen(checkout, suite, args.match):
            parser.error(f"no test file in {checkout / suite.folder} matches {args.match}")
        if not suite.is_launched and not args.megatron:
            parser.error(f"--suite {args.suite} is over Megatron-LM: give its checkout as --megatron")
        run_suite(args, suite, checkout, kept)
    if args.write:
        write(args.write, kept, suite, checkout)
    return 0


def run_suite(args: argparse.Namespace, suite: Suite, checkout: Path, kept: Path) -> None:
    logs = args.logs.resolve() if args.logs else None
    if logs:
        logs.mkdir(parents=True, exist_ok=True)
    with folder_of(checkout, suite) as folder:
        options = Options(
            suite=suite,
            checkout=folder,
            megatron=args.megatron.resolve() if args.megatron else folder,
            ranks=args.ranks if suite.is_launched else 1,
            timeout=args.timeout,
            test_timeout=args.test_timeout,
            logs=logs,
            lock=args.lock,
        )
        version = suite.version(checkout)
        run_all(args.match, kept, version, again=args.again, together=args.together, options=options)


if __name__ == "__main__":
    sys.exit(main())
