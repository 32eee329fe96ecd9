# SPDX-License-Identifier: Apache-2.0
"""Products fused with collectives over slow links: parts of one run beside the collectives of others, with equal bits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torchrun
from mindspeed.cli.main import main

JOB = Path(__file__).parents[1] / "support" / "overlap_job.py"
# 3 ms a message: longer than the product of a part.
LINK = "100,3000"
PRODUCTS = {
    "aclnnAllGatherMatmul": "HcclBatchSendRecv",
    "aclnnMatmulReduceScatter": "HcclReduceScatter",
    "aclnnMatmulAllReduce": "HcclAllReduce",
}

Event = dict[str, float]


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    folder = tmp_path_factory.mktemp("overlap")
    environment = {"MINDSPEED_HCCL_LINK": LINK, "MINDSPEED_TRACE": str(folder / "%r.json")}
    done = torchrun.run(2, JOB, timeout=240, environment=environment)
    assert done.returncode == 0, torchrun.errors(done)
    assert main(["trace", "merge", str(folder / "0.json"), "-o", str(folder / "all.json")]) == 0
    return json.loads((folder / "all.json").read_text(encoding="utf-8"))


def of(trace: list[Event], name: str) -> Iterator[tuple[float, float, float]]:
    for event in trace:
        if event.get("name") == name and event["ph"] == "X":
            yield event["ts"], event["ts"] + event["dur"], event["tid"]


@pytest.mark.parametrize("product", PRODUCTS)
def test_collectives_run_beside_products(trace: list[Event], product: str) -> None:
    """In another stream, at the same time."""
    collectives = list(of(trace, PRODUCTS[product]))
    beside = [
        (begin, end)
        for begin, end, stream in of(trace, product)
        for first, last, other in collectives
        if other != stream and begin < last and first < end
    ]
    assert beside
