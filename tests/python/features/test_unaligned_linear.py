# SPDX-License-Identifier: Apache-2.0
"""--unaligned-linear: heads and sequences that are no multiple of the ranks train as on one rank."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import memory_cases
import pytest
from memory_cases import SIZES, case
from mindspeed.adaptor import Level, rules
from mindspeed.features.communication import _shares
from mindspeed.features.communication import unaligned_linear as feature

FLASH = {"use_flash_attn": True}
ON = FLASH | {"unaligned_linear": True}
ODD = SIZES | {"SEQUENCE": 33, "HIDDEN": 160, "HEADS": 10, "GROUPS": 5}
LAYERS = {"dtype": "fp32", "layers": 2}


@pytest.mark.parametrize(("number", "size"), [(5, 2), (25, 4), (1026, 4), (3, 4), (8, 4)])
def test_shares_are_all_of_it(number: int, size: int) -> None:
    parts = _shares.shares(number, size)
    assert sum(parts) == number and max(parts) - min(parts) <= 1 and parts == sorted(parts, reverse=True)
    assert [_shares.start(number, size, rank) for rank in range(size)] == [
        sum(parts[:rank]) for rank in range(size)
    ]


@pytest.mark.slow
def test_training_is_that_of_one_rank() -> None:
    whole = memory_cases.run({"odd": case(FLASH, ODD, **LAYERS)})["odd"]
    two = memory_cases.run(
        {
            "even": case(FLASH, SIZES, **LAYERS, world=2, tp=2),
            "saved": case(ON, ODD, **LAYERS, world=2, tp=2, sp=True, save="odd"),
            "loaded, shared by data": case(FLASH, ODD, **LAYERS, world=2, load="odd"),
            "odd": case(ON, ODD, **LAYERS, world=2, tp=2),
            "odd, in parts": case(ON, ODD, **LAYERS, world=2, tp=2, sp=True),
            "odd, in parts, recomputed": case(ON, ODD, **LAYERS, world=2, tp=2, sp=True, recompute="full"),
            "odd, Megatron's attention": case(
                ON | {"use_flash_attn": False}, ODD, **LAYERS, world=2, tp=2, sp=True
            ),
        }
    )
    del two["even"]
    saved, loaded = two.pop("saved"), two.pop("loaded, shared by data")
    assert saved["losses"] + loaded["losses"] == pytest.approx(whole["losses"], rel=1e-4)
    four = memory_cases.run(
        {
            "even": case(FLASH, SIZES, **LAYERS, world=4, tp=4),
            "odd, by four": case(ON, ODD, **LAYERS, world=4, tp=4, sp=True),
            "odd, and data": case(ON, ODD, **LAYERS, world=4, tp=2, sp=True, optimizer="distributed"),
        }
    )
    del four["even"]
    for name, found in (two | four).items():
        for what in ("losses", "norms"):
            assert found[what] == pytest.approx(whole[what], rel=1e-4), f"{name}: {what}"


@pytest.mark.slow
def test_what_is_even_has_the_same_bits() -> None:
    layout = LAYERS | {"world": 2, "tp": 2, "sp": True}
    found = memory_cases.run({"on": case(ON, SIZES, **layout), "off": case(FLASH, SIZES, **layout)})
    for what in ("losses", "norms", "weights"):
        assert found["on"][what] == found["off"][what]


ARGS = {
    "unaligned_linear": True, "tensor_model_parallel_size": 2, "num_attention_heads": 10, "seq_length": 129,
    "group_query_attention": True, "num_query_groups": 5, "sequence_parallel": True, "transformer_impl": "local",
}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, ""),
        ({"num_query_groups": 4}, "10 heads in 4 groups"),
        (
            {"tensor_model_parallel_size": 8, "group_query_attention": False, "num_attention_heads": 5},
            "5 groups of heads on 8",
        ),
        ({"pipeline_model_parallel_size": 2}, "add --variable-seq-lengths"),
        ({"pipeline_model_parallel_size": 2, "variable_seq_lengths": True}, ""),
        ({"pipeline_model_parallel_size": 2, "seq_length": 128}, ""),
        ({"ffn_hidden_size": 33}, "--ffn-hidden-size 33"),
        ({"num_experts": 4}, "--num-experts 4: experts are shared evenly"),
        ({"multi_latent_attention": True}, "--multi-latent-attention has no groups"),
        ({"use_legacy_models": True}, "--use-legacy-models have other layers"),
        ({"transformer_impl": "transformer_engine"}, "give --transformer-impl local"),
        (
            {"context_parallel_size": 2, "context_parallel_algo": "ulysses_cp_algo", "seq_length": 128},
            "give megatron_cp_algo",
        ),
        ({"context_parallel_size": 2, "context_parallel_algo": "megatron_cp_algo", "seq_length": 128}, ""),
    ],
)
def test_rules(given: dict[str, Any], problem: str) -> None:
    found = rules.problems([feature.FEATURE], Namespace(**ARGS | given), Level.ACCELERATION)
    assert len(found) == bool(problem) and problem in "".join(found)
