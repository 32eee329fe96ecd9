# SPDX-License-Identifier: Apache-2.0
"""--npu-deterministic: PyTorch and the collectives are told."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Iterator

import pytest
import torch
from mindspeed.adaptor import Level, rules
from mindspeed.features.tooling import npu_deterministic

ARGS = Namespace(npu_deterministic=True)


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    for name in (npu_deterministic.COLLECTIVES, "PYTHONHASHSEED"):
        monkeypatch.setenv(name, "")  # what the feature sets is undone
        monkeypatch.delenv(name)
    before = torch.are_deterministic_algorithms_enabled()
    yield monkeypatch
    torch.use_deterministic_algorithms(before)


def test_seeding_makes_everything_deterministic(clean: pytest.MonkeyPatch) -> None:
    seen = []
    seed = npu_deterministic.deterministic(lambda *args, **kwargs: seen.append((args, kwargs)))
    torch.use_deterministic_algorithms(False)
    seed(1234, True, te_rng_tracker=False)
    assert seen == [((1234, True), {"te_rng_tracker": False})]
    assert torch.are_deterministic_algorithms_enabled() and os.environ["PYTHONHASHSEED"] == "1234"


@pytest.mark.parametrize(("given", "found"), [(None, "true"), ("strict", "strict")])
def test_collectives_are_told_before_ranks_meet(
    clean: pytest.MonkeyPatch, given: str | None, found: str
) -> None:
    if given:
        clean.setenv(npu_deterministic.COLLECTIVES, given)
    assert not rules.problems([npu_deterministic.FEATURE], ARGS, Level.ACCELERATION)
    npu_deterministic.before_ranks_meet(ARGS)
    assert os.environ[npu_deterministic.COLLECTIVES] == found


def test_the_opposite_is_a_mistake(clean: pytest.MonkeyPatch) -> None:
    clean.setenv(npu_deterministic.COLLECTIVES, "FALSE")
    (problem,) = rules.problems([npu_deterministic.FEATURE], ARGS, Level.ACCELERATION)
    assert "HCCL_DETERMINISTIC=false is set; unset it" in problem
