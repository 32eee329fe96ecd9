# SPDX-License-Identifier: Apache-2.0
"""Ten steps of training in every layout have the losses and gradient norms of one rank.

Layouts that are not fast are marked slow: `-m "not slow"` leaves them out.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torchrun
from parallel_layouts import LAYOUTS, MODELS, Layout, Run

JOB = Path(__file__).parents[1] / "support" / "parallel_job.py"
# Relative, for losses and for norms; why these: docs/parallelism.md.
FP32 = (1e-4, 1e-4)
BF16 = {"dense": (1e-3, 5e-3), "moe": (1e-2, 5e-2)}
START_S, LAYOUT_S = 300, 120

Result = dict[str, Any]


def train(layouts: Sequence[Layout]) -> dict[str, Result | str]:
    """All of one world size, in one job as far as none fails: a failed one ends the job, the rest gets a new one."""
    found: dict[str, Result | str] = {}
    left = list(layouts)
    while left:
        world = left[0].world
        arguments = [Run(layout=layout).to_json() for layout in left]
        done = torchrun.run(world, JOB, arguments, timeout=START_S + LAYOUT_S * len(left))
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        found |= {line["layout"]: line for line in lines}
        left = left[len(lines) :]
        if left:
            found[left.pop(0).name] = f"return code {done.returncode}\n{torchrun.errors(done)}"
    return found


class Results:
    """Of the layouts that this test run has selected, by world size and only when asked for."""

    def __init__(self, selected: Sequence[Layout]) -> None:
        needed = dict.fromkeys([*(layout.reference for layout in selected), *selected])
        self._layouts = sorted(needed, key=lambda layout: layout.world)
        self._found: dict[str, Result | str] = {}

    def of(self, layout: Layout) -> Result:
        if layout.name not in self._found:
            wanted = dict.fromkeys([*self._layouts, layout])
            self._found |= train([other for other in wanted if other.world == layout.world])
        result = self._found[layout.name]
        assert isinstance(result, dict), result
        return result


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest) -> Results:
    here = (item for item in request.session.items if item.path == request.path)
    calls = (getattr(item, "callspec", None) for item in here)
    return Results([call.params["layout"] for call in calls if call and "layout" in call.params])


def worst(found: Sequence[float], wanted: Sequence[float]) -> float:
    return max(abs(a - b) / abs(b) for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize(
    "layout",
    [
        pytest.param(layout, id=layout.name, marks=() if layout.fast else pytest.mark.slow)
        for layout in sorted(LAYOUTS, key=lambda layout: layout.world)
    ],
)
def test_layout_trains_like_one_rank(layout: Layout, results: Results) -> None:
    found, wanted = results.of(layout), results.of(layout.reference)
    bounds = FP32 if layout.dtype == "fp32" else BF16[layout.model]
    for what, bound in zip(("losses", "norms"), bounds, strict=True):
        difference = worst(found[what], wanted[what])
        assert difference <= bound, f"{what} differ by {difference:.1e}:\n{found[what]}\n{wanted[what]}"


@pytest.mark.parametrize("model", MODELS)
def test_reference_learns(model: str, results: Results) -> None:
    """Else equal losses would prove little."""
    losses = results.of(Layout(model=model))["losses"]
    assert losses[-1] < 0.9 * losses[0], losses


def test_choice_of_experts_is_clear(results: Results) -> None:
    """Else rounding errors would send tokens elsewhere, and the bound for fp32 would not hold."""
    assert results.of(Layout(model="moe"))["gap"] > 1e-4


def test_table_covers() -> None:
    """Names are unique, and every size of the world has layouts of both models."""
    names = [layout.name for layout in LAYOUTS]
    assert len(set(names)) == len(names) >= 24
    for world, model in itertools.product((1, 2, 4, 8), ("dense", "moe")):
        assert any(layout.world == world and layout.model == model for layout in LAYOUTS)
