# SPDX-License-Identifier: Apache-2.0
"""Latent attention over two tensor-parallel ranks has the gradients that one rank has; without the feature it has not."""

from __future__ import annotations

from pathlib import Path

import pytest
import releases
import torchrun

JOB = Path(__file__).parents[2] / "support" / "latent_job.py"


@pytest.mark.parametrize("release", ["", pytest.param("0.16.1", marks=pytest.mark.slow)])
def test_gradients_are_those_of_one_rank(release: str) -> None:
    folder = releases.release_folder(release)
    rows = torchrun.rows(2, JOB, [folder] if folder else [], timeout=300)
    assert {row["case"] for row in rows} >= {"split", "split, in parts"}
    for row in rows:
        assert row["difference"] < 1e-5 if row["on"] else row["difference"] > 1e-2, row
