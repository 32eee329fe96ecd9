# SPDX-License-Identifier: Apache-2.0
"""--hccl-group-buffer: the group that is named has buffers of that size, and no other."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torchrun
from mindspeed.adaptor import arguments, rules
from mindspeed.adaptor.discovery import all_features
from mindspeed.features.communication import hccl_group_buffer as feature

JOB = Path(__file__).parents[2] / "support" / "buffers_job.py"


def found(**flags: Any) -> dict[str, Any]:
    (row,) = torchrun.rows(8, JOB, [json.dumps(flags)], timeout=300)
    return row


def test_the_named_group_alone() -> None:
    usual, small = found(hccl_group_buffer=None), found(hccl_group_buffer="tp:4")
    assert small["options"]["tp"] == {"group_name": "tp", "hccl_buffer_size": 4}
    assert small["options"]["pp"] == usual["options"]["pp"] == {"group_name": "pp"}
    # Half of it is for what ranks of one host write into: less than that of HCCL_BUFFSIZE.
    assert small["shared"] <= 2.5 * 2**20 < usual["shared"]


def test_parse() -> None:
    assert (
        feature.SIZES.parse("tp:300; exp:400")
        == feature.SIZES.parse("tp:300,ep:400")
        == ({"tp": 300, "ep": 400}, [])
    )


def problems(text: str, **given: Any) -> list[str]:
    args = Namespace(hccl_group_buffer=text, **given)
    features = tuple(f for f in all_features() if f.name.startswith("hccl-group-buffer"))
    arguments.complete(args, features)
    return list(rules.problems(features, args, 2))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("tp=3", "'tp=3': wanted GROUP:MEGABYTES"),
        ("tp:3;", "'': wanted GROUP:MEGABYTES"),
        ("tq:3", "tq: there is no such group; wanted cp, dp,"),
        ("tp:0", "tp:0: wanted 1 to 65536 MB"),
        ("ep:1;exp:2", "exp is given twice"),
    ],
)
def test_rules(text: str, wanted: str) -> None:
    assert wanted in problems(text)[0]


def test_it_excludes_what_finds_sizes() -> None:
    assert problems("tp:3") == []
    assert "exclude each other" in problems("tp:3", hccl_group_buffer_adaptive=True)[0]
