# SPDX-License-Identifier: Apache-2.0
"""The projection in front of a predicted further token has over two tensor-parallel ranks the gradient that it has on one."""

from __future__ import annotations

from pathlib import Path

import torchrun

JOB = Path(__file__).parents[2] / "support" / "further_job.py"


def test_the_gradient_is_that_of_one_rank() -> None:
    rows = torchrun.rows(2, JOB, timeout=300)
    assert len(rows) == 4
    for row in rows:
        if row["level"]:
            assert row["difference"] < 1e-5, row
        else:  # Megatron 0.12: that of each rank is added
            assert 0.9 < row["difference"] < 1.1, row
