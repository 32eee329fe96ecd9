# SPDX-License-Identifier: Apache-2.0
"""--pipeline-num-transformer-layers: the same model, dealt out over the pipeline as told."""

from __future__ import annotations

import re
from argparse import Namespace
from typing import Any

import memory_cases
import pytest
from mindspeed.adaptor import Level, rules
from mindspeed.features.pipeline import pipeline_num_transformer_layers as feature


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("[[0,1],[1,1]*2,[3,0]]", ((0, 1), (1, 1), (1, 1), (3, 0))),
        ("[[1], [2]*2, [1]]", ((1,), (2,), (2,), (1,))),
        ("[[2]*4]", ((2,),) * 4),
    ],
)
def test_matrix(text: str, wanted: feature.Matrix) -> None:
    assert feature.matrix(text) == wanted


@pytest.mark.parametrize(
    "text", ["", "[]", "[1,2]", "[[1,-1]]", "[[1],[2]", "[[a]]", "[[1]*x]", "[[1]][[2]]"]
)
def test_what_is_no_matrix(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        feature.matrix(text)


def test_layers_are_numbered_as_they_run() -> None:
    rows = feature.matrix("[[0,1],[1,1]*2,[3,0]]")
    found = [
        feature.layers_before(rows, stage, chunk) + layer
        for chunk in range(2)
        for stage in range(4)
        for layer in range(rows[stage][chunk])
    ]
    assert found == list(range(8))


@pytest.mark.slow
@pytest.mark.parametrize(("text", "vp"), [("[[1],[3]]", 1), ("[[0,1],[1,2]]", 2)])
def test_training_is_that_of_one_rank(text: str, vp: int) -> None:
    sizes = {"layers": 4, "dtype": "fp32"}
    flags = {"use_flash_attn": True}
    whole = memory_cases.run({"whole": memory_cases.case(flags, **sizes)})["whole"]
    told = {"pipeline_num_transformer_layers": text}
    pipeline = {"world": 2, "pp": 2, "vp": vp, "overlap_p2p": vp > 1}
    found = memory_cases.run({"told": memory_cases.case(flags | told, **sizes, **pipeline)})["told"]
    for what in ("losses", "norms"):
        assert found[what] == pytest.approx(whole[what], rel=1e-4)
    even = memory_cases.run({"even": memory_cases.case(flags, **sizes, **pipeline)})["even"]
    assert found["parameters"] < even["parameters"]  # of the first rank


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, ""),
        ({"pipeline_model_parallel_size": 3}, "has 2 rows, and --pipeline-model-parallel-size is 3"),
        ({"num_layers_per_virtual_pipeline_stage": None}, r"the row \[0, 2\], and a stage has 1 chunks"),
        ({"num_layers": 5, "virtual_pipeline_model_parallel_size": 2}, "has 4 layers, and --num-layers is 5"),
    ],
)
def test_rules(given: dict[str, Any], problem: str) -> None:
    pipeline = {
        "pipeline_model_parallel_size": 2,
        "num_layers_per_virtual_pipeline_stage": 1,
        "num_layers": 4,
    }
    args = Namespace(pipeline_num_transformer_layers=((0, 2), (1, 1)), **(pipeline | given))
    found = rules.problems([feature.FEATURE], args, Level.ACCELERATION)
    assert len(found) == bool(problem)
    if problem:
        assert re.search(problem, found[0]), found
