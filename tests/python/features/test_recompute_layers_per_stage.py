# SPDX-License-Identifier: Apache-2.0
"""--enable-recompute-layers-per-pp-rank: chunks share the number of layers, and training stays the same."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import memory_cases
import pytest
from memory_cases import LONG, case
from mindspeed.features.memory import recompute_layers_per_stage as feature


@pytest.mark.parametrize("chunks", [1, 2, 3])
@pytest.mark.parametrize("layers", [0, 1, 2, 3, 5, 6])
def test_shares_are_the_layers_that_come_first(layers: int, chunks: int) -> None:
    dealt = [place % chunks for place in range(layers)]
    assert [feature.share(layers, chunk, chunks) for chunk in range(chunks)] == [
        dealt.count(chunk) for chunk in range(chunks)
    ]
    for chunk in range(chunks):
        config = SimpleNamespace(virtual_pipeline_model_parallel_size=chunks)
        first = [place for place in range(9) if feature.place_in_stage(place, config, chunk) < layers]
        assert first == list(range(feature.share(layers, chunk, chunks)))


@pytest.mark.parametrize(("method", "seen"), [("block", 1), ("uniform", 3)])
def test_number_is_changed_for_the_call_only(method: str, seen: int) -> None:
    config = SimpleNamespace(
        recompute_method=method, recompute_num_layers=3, virtual_pipeline_model_parallel_size=2
    )
    block = SimpleNamespace(config=config, vp_stage=1)
    found = []
    feature.sharing(lambda self: found.append(self.config.recompute_num_layers))(block)
    assert found == [seen] and block.config is config and config.recompute_num_layers == 3


PIPELINE: dict[str, Any] = {"world": 2, "pp": 2, "vp": 2, "overlap_p2p": True, "layers": 8}
FEW = {"recompute": "block"}


@functools.cache
def results() -> dict[str, Any]:
    flags = {"use_flash_attn": True}
    sizes = LONG | {"BATCH": 4}
    return memory_cases.run(
        {
            "none": case(flags, sizes, **PIPELINE),
            "chunk": case(flags, sizes, **PIPELINE, **FEW),
            "stage": case(flags | {"enable_recompute_layers_per_pp_rank": True}, sizes, **PIPELINE, **FEW),
        }
    )


@pytest.mark.slow
def test_training_is_the_same() -> None:
    found = results()
    for name in ("chunk", "stage"):
        for what in ("losses", "norms", "weights"):
            assert found[name][what] == found["none"][what]


@pytest.mark.slow
def test_one_layer_of_a_stage_is_recomputed_instead_of_two() -> None:
    none, stage, chunk = (results()[name]["peak"] for name in ("none", "stage", "chunk"))
    assert chunk < stage < none
