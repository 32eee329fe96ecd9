# SPDX-License-Identifier: Apache-2.0
"""--profile: which steps are profiled, what is written of them, and what is refused."""

from __future__ import annotations

import csv
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
from mindspeed.adaptor import arguments, rules
from mindspeed.adaptor.discovery import all_features
from mindspeed.features.tooling.profile import FEATURE, Window, is_on

STEPS = """
import torch, torch_npu
from argparse import Namespace
from mindspeed.features.tooling.profile import Window, profiler
args = Namespace(profile_with_cpu=True, profile_record_shapes=True, profile_with_memory=False, profile_with_stack=False,
                 profile_level="level1", profile_save_path={folder!r})
window = Window(1, 3, lambda steps: profiler(args, steps))
x = torch.ones(64, 64, device="npu")
for step in range(4):
    window.enter(step)
    for _ in range(step + 1):
        x @ x
    window.leave(step)
"""


class Recorder:
    def __init__(self) -> None:
        self.calls: list[Any] = []

    def __call__(self, steps: int) -> Recorder:
        self.calls.append(steps)
        return self

    def __getattr__(self, name: str) -> Any:
        return lambda: self.calls.append(name)


@pytest.mark.parametrize(
    ("begin", "steps", "wanted"),
    [
        (0, 6, [2, "start", "step", "step", "stop"]),
        (3, 6, [1, "start", "step", "stop"]),  # a job that goes on within the window
        (0, 3, [2, "start", "step", "stop"]),  # one that ends there
        (4, 6, []),
    ],
)
def test_window(begin: int, steps: int, wanted: list[Any]) -> None:
    record = Recorder()
    window = Window(2, 4, record)
    for step in range(begin, steps):
        window.enter(step)
        window.leave(step)
    window.close()
    assert record.calls == wanted


def test_what_is_written(tmp_path: Path) -> None:
    """Two rows of steps, with the products of each."""
    code = STEPS.format(folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    (output,) = tmp_path.glob("*_ascend_pt/ASCEND_PROFILER_OUTPUT")
    with open(output / "step_trace_time.csv", encoding="utf-8") as file:
        assert len({row["Step"] for row in csv.DictReader(file)}) == 2
    with open(output / "kernel_details.csv", encoding="utf-8") as file:
        names = [row["Name"] for row in csv.DictReader(file)]
    assert sum("atmul" in name or "Mm" in name for name in names) == 2 + 3


def problems(**given: Any) -> list[str]:
    args = Namespace(**{"profile": True, "profile_step_start": 10, "profile_step_end": 12} | given)
    features = tuple(f for f in all_features() if f.name == FEATURE.name)
    arguments.complete(args, features)
    return list(rules.problems(features, args, 2))


def test_rules() -> None:
    assert problems() == []
    assert "leave no step to profile" in problems(profile_step_end=10)[0]
    assert "needs --profile-with-cpu" in problems(profile_with_memory=True)[0]


def test_the_profiler_of_pytorch_is_left_to_megatron() -> None:
    assert is_on(Namespace(profile=True)) and not is_on(Namespace(profile=True, use_pytorch_profiler=True))
