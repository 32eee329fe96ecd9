# SPDX-License-Identifier: Apache-2.0
"""--variable-seq-lengths: micro-batches of several lengths pass a pipeline, with the losses of one rank."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import memory_cases
import pytest
from memory_cases import SIZES, case
from mindspeed.adaptor import Level, rules
from mindspeed.features.pipeline import variable_seq_lengths as feature

FLASH = {"use_flash_attn": True}
TOLD = FLASH | {"variable_seq_lengths": True}
LENGTHS = SIZES | {"SHORTER": 4, "BATCH": 4}
LAYERS = {"dtype": "fp32", "layers": 4}


@pytest.mark.slow
def test_training_is_that_of_one_rank() -> None:
    whole = memory_cases.run({"whole": case(FLASH, LENGTHS, **LAYERS)})["whole"]
    two = memory_cases.run(
        {
            "one length": case(FLASH, SIZES, **LAYERS, world=2, pp=2),
            "one length, told": case(FLASH | {"variable_seq_lengths": True}, SIZES, **LAYERS, world=2, pp=2),
            "two stages": case(TOLD, LENGTHS, **LAYERS, world=2, pp=2),
            "interleaved": case(TOLD, LENGTHS, **LAYERS, world=2, pp=2, vp=2, overlap_p2p=True),
        }
    )
    assert two.pop("one length, told")["losses"] == two.pop("one length")["losses"]
    four = memory_cases.run(
        {
            "one length": case(FLASH, SIZES, **LAYERS, world=4, pp=4),
            "four stages": case(TOLD, LENGTHS, **LAYERS, world=4, pp=4),
            "in parts": case(TOLD, LENGTHS, **LAYERS, world=4, pp=2, tp=2, sp=True),
            "in uneven parts": case(
                TOLD | {"unaligned_linear": True},
                LENGTHS | {"SHORTER": 5},
                **LAYERS,
                world=4,
                pp=2,
                tp=2,
                sp=True,
            ),
        }
    )
    four.pop("one length")
    uneven = memory_cases.run({"whole": case(FLASH, LENGTHS | {"SHORTER": 5}, **LAYERS)})["whole"]
    for name, found in (two | four).items():
        wanted = uneven if name == "in uneven parts" else whole
        for what in ("losses", "norms"):
            assert found[what] == pytest.approx(wanted[what], rel=1e-4), f"{name}: {what}"


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, ""),
        ({"moe_token_dispatcher_type": "allgather"}, ""),
        ({"num_experts": 4, "moe_token_dispatcher_type": "alltoall"}, ""),
        (
            {"num_experts": 4, "moe_token_dispatcher_type": "allgather"},
            "dispatcher-type allgather wants sequences of one",
        ),
    ],
)
def test_rules(given: dict[str, Any], problem: str) -> None:
    found = rules.problems(
        [feature.FEATURE], Namespace(variable_seq_lengths=True, **given), Level.ACCELERATION
    )
    assert len(found) == bool(problem) and problem in "".join(found)
