# SPDX-License-Identifier: Apache-2.0
"""Fused features give what level 0 gives when vocabulary, layers and experts are split over two ranks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torchrun

JOB = Path(__file__).parents[2] / "support" / "fusion_job.py"
# By the first of the words that a case has: sums in another order, and a rounding instead of several.
TOLERANCE = {"losses": 1e-5, "fp32": 2e-6, "bf16": 1e-2}


@pytest.fixture(scope="module")
def differences() -> dict[str, float]:
    rows = torchrun.rows(2, JOB, timeout=300)
    return {row["case"]: row["difference"] for row in rows}


@pytest.mark.parametrize(
    ("kind", "count"), [("cross-entropy", 5), ("embedding", 2), ("losses", 4), ("experts", 6)]
)
def test_two_ranks(differences: dict[str, float], kind: str, count: int) -> None:
    cases = {case: worst for case, worst in differences.items() if case.startswith(kind)}
    assert len(cases) == count
    allowed = {case: next(limit for word, limit in TOLERANCE.items() if word in case) for case in cases}
    assert all(worst <= allowed[case] for case, worst in cases.items()), cases
