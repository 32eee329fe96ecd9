# SPDX-License-Identifier: Apache-2.0
"""Layers that Megatron captures in graphs (--enable-cuda-graph, --cuda-graph-impl local) train as they do without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import releases
from mindspeed.features.compatibility import captured_layers as feature

JOB = Path(__file__).parents[2] / "support" / "captured_job.py"


def run(*arguments: str, release: str = "") -> dict[str, list[float]]:
    path = [releases.release_folder(release), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, str(JOB), *arguments], capture_output=True, text=True, timeout=300, check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, path))},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("layers", ["local", "transformer_engine"])
def test_training_is_the_same(layers: str) -> None:
    found = run(layers)
    assert found["captured"] == found["plain"]


def test_dropout_of_each_replay_is_another() -> None:
    losses = run("transformer_engine", "dropout")["captured"]
    assert len(set(losses)) == len(losses)


@pytest.mark.slow
def test_training_of_later_releases_is_the_same() -> None:
    """Two layers: the memory of the first one's input is what the gradient of the second one's output would take."""
    found = run("transformer_engine", release="0.16.1")
    assert found["captured"] == found["plain"]


class Pool:
    def __init__(self) -> None:
        self.back: list[str] = []

    def insert(self, tensor: str) -> None:
        self.back.append(tensor)


@pytest.mark.parametrize("trains", [True, False])
def test_inputs_stay_where_a_backward_pass_follows(monkeypatch: pytest.MonkeyPatch, trains: bool) -> None:
    pool = Pool()
    graphs = SimpleNamespace(_CudagraphGlobalRecord=SimpleNamespace(tensor_reuse_pool=pool))
    monkeypatch.setitem(sys.modules, "megatron.core.transformer.cuda_graphs", graphs)

    def create(runner: Any, tensor: str) -> None:
        pool.insert(tensor)
        if tensor == "bad":
            raise ValueError(tensor)

    kept = feature.keep_inputs(create)
    kept(SimpleNamespace(grad_enabled=trains), "input")
    assert pool.back == ([] if trains else ["input"])
    with pytest.raises(ValueError, match="bad"):
        kept(SimpleNamespace(grad_enabled=trains), "bad")
    pool.insert("gradient")  # of a backward pass
    assert pool.back[-1] == "gradient"
