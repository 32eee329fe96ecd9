# SPDX-License-Identifier: Apache-2.0
"""torch's fully sharded data parallelism (FSDP2, fully_shard) on virtual NPUs trains like one rank without it."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torchrun

JOB = Path(__file__).parents[1] / "support" / "fsdp_job.py"
# Relative, of losses and of norms. bf16: weights and activations have 8 bits.
BOUNDS = {"bf16": (2e-3, 2e-2)}
FP32_BOUNDS = (1e-4, 1e-4)
TIMEOUT_S = 600


@functools.cache
def train(world: int, ways: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    lines = torchrun.rows(world, JOB, ways, timeout=TIMEOUT_S)
    return dict(zip(ways, lines, strict=True))


def compare(world: int, ways: tuple[str, ...]) -> None:
    wanted = train(1, ("none",))["none"]
    for way, found in train(world, ways).items():
        for what, bound in zip(("losses", "norms"), BOUNDS.get(way, FP32_BOUNDS), strict=True):
            pairs = zip(found[what], wanted[what], strict=True)
            difference = max(abs(a - b) / b for a, b in pairs)
            assert difference <= bound, f"{way}: {what} differ by {difference:.1e}"


def test_two_ranks() -> None:
    compare(2, ("shard", "keep", "bf16"))


@pytest.mark.slow
def test_four_ranks() -> None:
    compare(4, ("shard", "keep", "hybrid", "bf16"))


@pytest.mark.slow
def test_eight_ranks() -> None:
    compare(8, ("shard", "hybrid"))
