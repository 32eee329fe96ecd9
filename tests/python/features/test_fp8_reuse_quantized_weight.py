# SPDX-License-Identifier: Apache-2.0
"""--fp8-reuse-quantized-weight: the same training with weights quantised once in a step. Parameters in 8 bits are trained beside
(--fp8-param-gather): the same job compares them. Layers alone are in tests/python/standins/test_te_fp8_weights.py."""

from __future__ import annotations

import functools
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torchrun
from mindspeed.features.precision import fp8_reuse_quantized_weight as feature

JOB = Path(__file__).parents[2] / "support" / "fp8_weights_job.py"
WEIGHTS = 2 * 12 * 128 * 128  # in two layers
NUMBER = 2 * 4  # matrices


@functools.cache
def found(ranks: int, recipe: str, words: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    names = [f"hybrid/{recipe}{word}" for word in words]
    return dict(zip(words, torchrun.rows(ranks, JOB, names, timeout=400), strict=True))


def check_reuse(results: dict[str, dict[str, Any]]) -> None:
    """Two micro-batches a step."""
    off, on = results[""], results["/reuse"]
    assert on["losses"] == off["losses"] and off["losses"][-1] < 0.7 * off["losses"][0]
    assert on["weights"] == NUMBER and off["weights"] == 2 * NUMBER


def check_parameters(results: dict[str, dict[str, Any]]) -> None:
    """A byte less for each weight; scales take a hundredth of that."""
    off, on = results[""], results["/weights"]
    assert on["losses"] == pytest.approx(off["losses"], rel=0.01)
    assert off["held"] - on["held"] == pytest.approx(WEIGHTS, rel=0.04)
    assert on["weights"] == 0


def test_training() -> None:
    results = found(1, "tensorwise", ("", "/reuse", "/weights"))
    check_reuse(results)
    check_parameters(results)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["delayed", "blockwise", "mxfp8-32x32"])
def test_training_with_parameters_in_8_bits_on_two_ranks(recipe: str) -> None:
    """Cuts of the distributed optimizer lie within weights and blocks."""
    results = found(2, recipe, ("", "/weights"))
    off, on = results[""], results["/weights"]
    assert on["losses"] == pytest.approx(off["losses"], rel=0.01)
    assert on["held"] < off["held"]


def test_rules() -> None:
    assert "give --fp8-format" in next(iter(feature.check(Namespace(fp8=None))))
    told = list(feature.check(Namespace(fp8="e4m3", disable_parameter_transpose_cache=True)))
    assert len(told) == 1 and "which micro-batch is the first" in told[0]
    assert list(feature.check(Namespace(fp8="e4m3"))) == []
