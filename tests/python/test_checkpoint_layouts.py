# SPDX-License-Identifier: Apache-2.0
"""A checkpoint saved in one layout goes on in another: losses and norms are those of an unbroken run of one rank."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torchrun
from parallel_layouts import Layout, Run, dense, moe

JOB = Path(__file__).parents[1] / "support" / "parallel_job.py"
HALF = 5
BOUND = 1e-4
TIMEOUT_S = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    saved: Layout
    loaded: Layout
    fast: bool = False

    @property
    def name(self) -> str:
        return f"{self.saved.name}-to-{self.loaded.name}"


def distributed(layout: Any, **sizes: Any) -> Layout:
    return layout(optimizer="distributed", **sizes)


CHANGES = (
    Change(saved=distributed(dense, world=2, tp=2), loaded=distributed(dense, world=2, pp=2), fast=True),
    Change(saved=distributed(dense, world=4, tp=2, pp=2), loaded=distributed(dense, world=2)),
    Change(saved=distributed(dense), loaded=distributed(dense, world=4, pp=2, vp=2, overlap_p2p=True)),
    Change(saved=distributed(dense, world=2, cp=2), loaded=distributed(dense, world=2, pp=2)),
    Change(saved=dense(world=2, pp=2), loaded=dense(world=2, pp=2)),
    Change(saved=dense(world=2, tp=2, sp=True), loaded=dense(world=2, pp=2)),
    Change(saved=dense(world=2, optimizer="overlap"), loaded=distributed(dense, world=4, tp=4, sp=True)),
    Change(saved=distributed(moe), loaded=distributed(moe, world=2, pp=2)),
    # Megatron 0.12.1 names the optimizer's state otherwise where experts are spread: to and from ep=1 there is no way.
    Change(
        saved=distributed(moe, world=2, ep=2), loaded=distributed(moe, world=4, ep=4, dispatcher="alltoall")
    ),
    Change(
        saved=distributed(moe, world=4, tp=2, ep=2, sp=True, dispatcher="alltoall"),
        loaded=distributed(moe, world=4, pp=2, ep=2),
    ),
    Change(
        saved=distributed(moe, world=4, pp=2, ep=2),
        loaded=distributed(moe, world=8, tp=2, cp=2, ep=2, sp=True),
    ),
)


def carry_out(*runs: Run) -> list[dict[str, Any]]:
    done = torchrun.run(runs[0].layout.world, JOB, [run.to_json() for run in runs], timeout=TIMEOUT_S)
    assert done.returncode == 0, torchrun.errors(done)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@functools.cache
def unbroken(layout: Layout) -> dict[str, Any]:
    (result,) = carry_out(Run(layout=layout))
    return result


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(change, id=change.name, marks=() if change.fast else pytest.mark.slow)
        for change in CHANGES
    ],
)
def test_goes_on_in_another_layout(change: Change, tmp_path: Path) -> None:
    folder = str(tmp_path / "checkpoint")
    save = Run(layout=change.saved, last=HALF, save=folder)
    load = Run(layout=change.loaded, first=HALF, load=folder)
    if change.saved.world == change.loaded.world:
        first, second = carry_out(save, load)
    else:
        first, second = (result for run in (save, load) for result in carry_out(run))
    wanted = unbroken(change.saved.reference)
    for what in ("losses", "norms"):
        pairs = zip([*first[what], *second[what]], wanted[what], strict=True)
        difference = max(abs(found - right) / right for found, right in pairs)
        assert difference <= BOUND, (
            f"{what} differ by {difference:.1e}:\n{first[what]}\n{second[what]}\n{wanted[what]}"
        )
