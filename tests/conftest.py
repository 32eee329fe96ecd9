# SPDX-License-Identifier: Apache-2.0
"""Makes tests/support importable, puts long files first, lets programs of tests be interrupted, and takes a part of the
tests where one is asked for."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "support"))
# A shell starts what is in the background without Ctrl-C, and programs inherit that; tests send it to theirs.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--part", default="0/1", help="K/N: of the tests that are selected otherwise those at K, K + N, ..."
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files that start processes take a minute, those of operators seconds: with the short ones last, the workers of a
    whole run (`--dist loadfile`) end together. Order inside a folder stays."""
    items.sort(key=lambda item: item.path.is_relative_to(HERE / "ops"))
    first, step = (int(number) for number in config.getoption("part").split("/"))
    config.hook.pytest_deselected(items=[item for i, item in enumerate(items) if i % step != first])
    items[:] = items[first::step]
