# SPDX-License-Identifier: Apache-2.0
"""--async-log-allreduce: the same reports, waited for behind the optimizer's step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torchrun
from mindspeed.features.communication import async_log_allreduce as feature

JOB = Path(__file__).parents[2] / "support" / "reports_job.py"
MICRO_BATCHES, STEPS = 4, 3


def test_reports_are_the_same_and_come_later() -> None:
    (row,) = torchrun.rows(2, JOB, timeout=300)
    assert row["later"] == row["at once"] and len(row["later"]) == STEPS
    a_step = ["begin"] * MICRO_BATCHES + ["step"] + ["wait"] * MICRO_BATCHES
    assert row["events"][:-1] == a_step * STEPS
    assert (
        "the loss function returned dict for the report; wanted (loss, number of tokens, "
        in row["events"][-1]
    )


class Work:
    waits = 0

    def wait(self) -> None:
        self.waits += 1


READS = (
    lambda r: r["a"],
    lambda r: r.get("a"),
    lambda r: next(iter(r.values())),
    lambda r: dict(r.items())["a"],
)


@pytest.mark.parametrize("read", READS)
def test_a_value_is_waited_for_once(read: Any) -> None:
    work = Work()
    report = feature.report_of(({"a": 1}, work))
    assert list(report) == list(report.keys()) == ["a"] and "a" in report and work.waits == 0
    assert read(report) == read(report) == 1 and work.waits == 1


@pytest.mark.parametrize("returned", [{"a": 1}, ({"a": 1}, None), ({"a": 1}, Work(), 0), ([1], Work()), None])
def test_another_report_is_an_error(returned: Any) -> None:
    with pytest.raises(TypeError, match="--async-log-allreduce: the loss function returned"):
        feature.report_of(returned)
