# SPDX-License-Identifier: Apache-2.0
"""Makes tests/support importable, puts long files first, and lets programs of tests be interrupted."""

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that start processes take a minute, those of operators seconds: with the short ones last, the workers of a
    whole run (`--dist loadfile`) end together. Order inside a folder stays."""
    items.sort(key=lambda item: item.path.is_relative_to(HERE / "ops"))
