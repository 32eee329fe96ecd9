# SPDX-License-Identifier: Apache-2.0
"""Tokens to the ranks of their experts and back: npu_moe_distribute_dispatch and npu_moe_distribute_combine, both
versions, and the latter with a norm behind it, against the plain computation."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path

import pytest
import torchrun

pytest.importorskip("torch_npu")
JOB = Path(__file__).parents[1] / "support" / "distribute_job.py"
SECONDS = 300
CHECKS = (
    "there_and_back",
    "there_and_back_v2",
    "a_shared_experts_rows",
    "a_norm_behind_the_way_back",
    "experts_that_compute_nothing",
    "strides_and_specials",
    "weights_travel",
    "int8",
    "wrong_arguments",
)
FAULTS = {
    "range": ("expertIds", "out of range"),
    "twice": ("expertIds has expert 1 twice for token 0",),
    "counts": ("epSendCounts falls",),
    "places": ("expandIdx is",),
}


@functools.cache
def run(ranks: int) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        done = torchrun.run(
            ranks, JOB, [str(report), *CHECKS], timeout=SECONDS, environment={"HCCL_EXEC_TIMEOUT": "60"}
        )
        assert done.returncode == 0 and report.is_file(), torchrun.errors(done)
        return json.loads(report.read_text())


@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("name", CHECKS)
def test_tokens_of_ranks(name: str, ranks: int) -> None:
    assert run(ranks).get(name, "not run") == "ok"


@pytest.mark.parametrize("kind", FAULTS)
def test_what_only_the_data_tells(kind: str) -> None:
    job = torchrun.start(2, JOB, ["fault", kind], HCCL_EXEC_TIMEOUT="20")
    try:
        texts = ["".join(rank.communicate(timeout=120)) for rank in job.ranks]
    finally:
        job.end()
    for text in texts:
        assert all(wanted in text for wanted in FAULTS[kind]), text[-6000:]
