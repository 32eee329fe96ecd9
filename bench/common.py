"""Side by side timing of an operator of libopapi and of PyTorch's CPU kernel, with the same thread count.

    rows = [Case("sum", "aclnnReduceSum", (x, IntArray([1]), False, x.dtype, out), lambda: x.sum(1))]
    main(rows)

Phase one runs once (a repeatable executor); phase two is timed, as is PyTorch's call without autograd.
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TORCH_DEVICE_BACKEND_AUTOLOAD", "0")  # torch_npu is not what is measured
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
import aclnn


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    operator: str
    args: tuple[Any, ...]
    reference: Callable[[], object]
    what: str = ""  # shape and dtype; derived from the first tensor if empty


class Prepared:
    """An operator planned once; calling it runs phase two and waits."""

    def __init__(self, name: str, args: tuple[Any, ...]) -> None:
        base, ops = aclnn.base(), aclnn.load("libopapi.so")
        self.converter, self.keep = aclnn.Arguments(), args
        kinds = aclnn.signatures()[name]
        c_args = [self.converter.convert(a, kind) for a, (kind, _) in zip(args, kinds, strict=True)]
        size, self.executor = ctypes.c_uint64(), ctypes.c_void_p()
        if getattr(ops, f"{name}GetWorkspaceSize")(*c_args, ctypes.byref(size), ctypes.byref(self.executor)):
            raise RuntimeError(f"{name}: {aclnn.error_text()}")
        base.aclSetAclOpExecutorRepeatable(self.executor)
        self.workspace = torch.empty(size.value, dtype=torch.uint8)
        self.launch, self.size = getattr(ops, name), size
        self.pointer = ctypes.c_void_p(self.workspace.data_ptr() if size.value else None)
        self.synchronise = aclnn.load("libascendcl.so").aclrtSynchronizeStream

    def __call__(self) -> None:
        if self.launch(self.pointer, self.size, self.executor, None) or self.synchronise(None):
            raise RuntimeError(aclnn.error_text())


def best(function: Callable[[], object], seconds: float) -> float:
    """Fastest of several batches, in microseconds: the machine's noise only adds."""
    function()
    start = time.perf_counter()
    function()
    count = max(1, int(seconds / 8 / max(time.perf_counter() - start, 1e-7)))
    fastest = float("inf")
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(count):
            function()
        fastest = min(fastest, (time.perf_counter() - start) / count)
    return fastest * 1e6


def describe(case: Case) -> str:
    if case.what:
        return case.what
    first = next(a for a in case.args if isinstance(a, torch.Tensor))
    return f"{list(first.shape)} {str(first.dtype).removeprefix('torch.')}"


def main(cases: Iterable[Case]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a fifth of the time per case")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--part", default="1/1", help="2/4: of every four cases the second")
    options = parser.parse_args()
    threads = int(
        os.environ.get("MINDSPEED_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1
    )
    torch.set_num_threads(threads)
    print(f"{threads} threads; ratio above 1: ours is faster")
    print(f"{'name':28}{'shape':34}{'ours us':>10}{'torch us':>10}{'ratio':>7}")
    seconds = 0.1 if options.quick else 0.5
    part, parts = (int(number) for number in options.part.split("/"))
    ratios = []
    with torch.no_grad():
        for case in itertools.islice(cases, part - 1, None, parts):
            if options.only not in case.name:
                continue
            ours, theirs = best(Prepared(case.operator, case.args), seconds), best(case.reference, seconds)
            ratios.append(theirs / ours)
            print(f"{case.name:28}{describe(case):34}{ours:10.1f}{theirs:10.1f}{ratios[-1]:7.2f}", flush=True)
    if ratios:
        mean = statistics.geometric_mean(ratios)
        slower = sum(ratio < 1 for ratio in ratios)
        print(f"{len(ratios)} cases, geometric mean {mean:.2f}, least {min(ratios):.2f}, {slower} below 1")
