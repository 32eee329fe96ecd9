# SPDX-License-Identifier: Apache-2.0
"""Makes tests/support importable, and puts long files first."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "support"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that start processes take a minute, those of operators seconds: with the short ones last, the workers of a
    whole run (`--dist loadfile`) end together. Order inside a folder stays."""
    items.sort(key=lambda item: item.path.is_relative_to(HERE / "ops"))
