# SPDX-License-Identifier: Apache-2.0
"""torch.distributed on virtual NPUs through stock torch_npu: what it computes, and how it ends."""

from __future__ import annotations

import functools
import json
import re
import tempfile
from pathlib import Path

import pytest
import torchrun

pytest.importorskip("torch_npu")
JOB = Path(__file__).parents[1] / "support" / "dist_job.py"
SECONDS = 600

COLLECTIVES = (
    "all_reduce", "average", "bool", "reduce_and_broadcast", "all_gather", "all_gather_uneven", "reduce_scatter",
    "reduce_scatter_uneven", "scatter_and_gather", "all_to_all", "all_to_all_uneven", "async_handles", "streams",
    "coalesced", "objects", "point_to_point", "barrier", "waiting_costs_nothing",
    "torch_npu_collectives",
)  # fmt: skip
PRODUCTS = (
    "all_gather_products", "products_that_scatter", "products_that_are_summed", "products_of_int8",
    "products_of_int8_with_int8_on_the_way", "products_with_weights_of_int8", "products_of_groups",
    "products_that_are_normalised", "products_that_are_exchanged", "products_of_experts",
)  # fmt: skip
GROUPS = ("groups", "many_groups", "functional_collectives", "differentiable_collectives", "refused")
TRAINING = ("ddp", "fsdp", "dtensor")
EVERYTHING = COLLECTIVES + GROUPS + TRAINING

# What torch, torch_npu and the launcher print by themselves (docs/distributed.md).
THEIRS = re.compile(
    r"32 padding size|FutureWarning|UserWarning|RuntimeWarning|^  \S|OMP_NUM_THREADS|^\**$|NPUQueue\.cpp|"
    r"not recommended for NPU tensors|not a zipfile|number of input elements should equal world_size"
)


@functools.cache
def run(ranks: int, checks: tuple[str, ...], **more: str) -> tuple[dict[str, str], str]:
    """One job: {check: "ok" or what went wrong}, and what it printed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        settings = {"HCCL_EXEC_TIMEOUT": "150"} | more
        done = torchrun.run(ranks, JOB, [str(report), *checks], timeout=SECONDS, environment=settings)
        assert done.returncode == 0 and report.is_file(), torchrun.errors(done)
        return json.loads(report.read_text()), done.stdout + done.stderr


def outcome(name: str, ranks: int, checks: tuple[str, ...], **more: str) -> str:
    """A job stops at its first failure: what follows was not run, and says so."""
    return run(ranks, checks, **more)[0].get(name, "not run")


@pytest.mark.parametrize("name", EVERYTHING)
def test_two_ranks(name: str) -> None:
    assert outcome(name, 2, EVERYTHING) == "ok"


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERYTHING)
def test_three_ranks(name: str) -> None:
    assert outcome(name, 3, EVERYTHING) == "ok"


@pytest.mark.slow
@pytest.mark.parametrize("name", GROUPS + TRAINING)
def test_four_ranks(name: str) -> None:
    assert outcome(name, 4, GROUPS + TRAINING) == "ok"


@pytest.mark.slow
@pytest.mark.parametrize("name", COLLECTIVES + TRAINING)
def test_expandable_segments(name: str) -> None:
    settings = {"PYTORCH_NPU_ALLOC_CONF": "expandable_segments:True"}
    assert outcome(name, 2, COLLECTIVES + TRAINING, **settings) == "ok"


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_on_two_ranks(name: str) -> None:
    assert outcome(name, 2, PRODUCTS) == "ok"


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_on_four_ranks(name: str) -> None:
    assert outcome(name, 4, PRODUCTS) == "ok"


@pytest.mark.parametrize("name", ["two_backends"])
def test_a_backend_for_each_device(name: str) -> None:
    assert outcome(name, 2, ("two_backends",)) == "ok"


ONE_VISIBLE_DEVICE = """
import os
rank = os.environ["LOCAL_RANK"]
os.environ["ASCEND_RT_VISIBLE_DEVICES"] = {"0": "3", "1": "1"}[rank]
import torch
import torch.distributed as dist
assert torch.npu.device_count() == 1
dist.init_process_group("hccl")
x = torch.full((1000,), float(rank) + 1, device="npu:0")
dist.all_reduce(x)
assert (x.cpu() == 3).all(), x
dist.destroy_process_group()
print(f"rank {rank} is done")
"""


def test_each_rank_sees_one_device(tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(ONE_VISIBLE_DEVICE)
    done = torchrun.run(2, script, timeout=SECONDS)
    assert done.returncode == 0, torchrun.errors(done)
    assert sorted(line for line in done.stdout.splitlines() if "is done" in line) == [
        "rank 0 is done",
        "rank 1 is done",
    ]


def test_a_job_prints_nothing_of_ours() -> None:
    lines = run(2, EVERYTHING)[1].splitlines()
    assert [line for line in lines if line.strip() and not THEIRS.search(line)] == []


def test_ranks_stop_and_resume() -> None:
    assert outcome("stop_and_resume", 2, ("stop_and_resume", "all_reduce")) == "ok"
    assert outcome("all_reduce", 2, ("stop_and_resume", "all_reduce")) == "ok"


@functools.cache
def fault(kind: str) -> list[tuple[int, str]]:
    """Two ranks, none of which ends the other: exit code and output."""
    job = torchrun.start(2, JOB, ["fault", kind], HCCL_EXEC_TIMEOUT="3")
    try:
        texts = ["".join(rank.communicate(timeout=120)) for rank in job.ranks]
    finally:
        job.end()
    return [(rank.wait(), text) for rank, text in zip(job.ranks, texts, strict=True)]


def ends_with(result: tuple[int, str], *texts: str) -> None:
    code, printed = result
    assert code != 0, printed[-4000:]
    missing = [text for text in texts if text not in printed]
    assert not missing, f"{missing} not in\n{printed[-6000:]}"


def test_a_missing_rank_is_named() -> None:
    ends_with(
        fault("missing")[0], "timed out after 3 s (HCCL_EXEC_TIMEOUT)", "HcclAllReduce", "rank 1 (process",
        "is in none, its last was HcclAllReduce",
    )  # fmt: skip


def test_a_mismatch_is_an_error_on_both() -> None:
    for result in fault("mismatch"):
        ends_with(result, "differs between ranks", "(1000 float32", "(1001 float32")


def test_a_product_with_other_rows_is_an_error_on_both() -> None:
    for result in fault("product"):
        ends_with(result, "HcclAllGather", "differs between ranks", "(32 float32", "(36 float32")


def test_a_killed_rank_is_named() -> None:
    ends_with(fault("killed")[0], "rank 1 (process", "has ended")


def test_an_idle_rank_hears_of_an_error() -> None:
    idle, waiting = fault("idle")
    ends_with(waiting, "timed out after 3 s", "rank 0 (process")
    ends_with(idle, "rank 1 reports", "timed out after 3 s")


def test_all_ranks_hear_of_an_operator_that_fails_on_one() -> None:
    good, bad = fault("index")
    ends_with(bad, "aclnnEmbedding: index", "out of range")
    ends_with(good, "rank 1 reports: HcclAllReduce", "was dropped", "aclnnEmbedding: index", "out of range")
    assert not any(line.startswith("sum") for line in (good[1] + bad[1]).splitlines())


def test_a_rank_that_raises_ends_the_others() -> None:
    waiting, raising = fault("raises")
    ends_with(raising, "rank 1 has had enough")
    ends_with(waiting, "rank 1 (process", "has left the communicator")
