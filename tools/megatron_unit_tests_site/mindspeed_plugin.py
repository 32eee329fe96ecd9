# SPDX-License-Identifier: Apache-2.0
"""pytest's plugin of tools/megatron_unit_tests.py: the two lines of a training script, and a line of JSON for every event.

`UNIT_TESTS_OUT` is the file where this rank writes; `UNIT_TESTS_ONLY` a file with the names of the tests to run, if not all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import mindspeed.megatron_adaptor  # noqa: F401
import pytest
import torch

KEPT = 8000
# Most tests leave their process groups behind, and each has a thread that wakes every second: thousands of them on eight
# ranks are most of what the machine does. After so many groups the rest of the tests runs in new processes.
MOST_GROUPS = 3000
REPORTS = pytest.StashKey[list[pytest.TestReport]]()
OUT: list[TextIO] = []


def tell(**event: object) -> None:
    OUT[0].write(json.dumps(event) + "\n")


def pytest_configure() -> None:
    OUT.append(open(os.environ["UNIT_TESTS_OUT"], "w", encoding="utf-8", buffering=1))  # noqa: SIM115


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    listed = os.environ.get("UNIT_TESTS_ONLY")
    if listed:
        names = set(json.loads(Path(listed).read_text(encoding="utf-8")))
        left = [item for item in items if item.nodeid not in names]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item.nodeid in names]
    tell(collected=[item.nodeid for item in items])


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.outcome != "passed":
        name = f"{report.nodeid}::(collection)"
        tell(begun=name)
        tell(test=name, outcome=report.outcome, text=text_of(report))


def text_of(report: pytest.CollectReport | pytest.TestReport) -> str:
    if report.skipped:
        wasxfail = getattr(report, "wasxfail", None)
        found = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
        return f"expected to fail: {wasxfail}" if wasxfail is not None else str(found)
    return report.longreprtext[-KEPT:]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    name = item.nodeid
    tell(begun=name)
    item.stash[REPORTS] = []
    yield
    reports = item.stash[REPORTS]
    decisive = next((r for r in reports if r.failed), next((r for r in reports if r.skipped), None))
    outcome = decisive.outcome if decisive else "passed"
    tell(test=name, outcome=outcome, text=text_of(decisive) if decisive else "")
    if torch.distributed.distributed_c10d._world.group_count > MOST_GROUPS:
        item.session.shouldstop = "enough process groups"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    item.stash[REPORTS].append(outcome.get_result())  # type: ignore[attr-defined]
