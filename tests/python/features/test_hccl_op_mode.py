# SPDX-License-Identifier: Apache-2.0
"""--hccl-op-mode: HCCL is told of the group that is named, next to its other options, and of no other."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import pytest
import torchrun
from mindspeed.adaptor import arguments, rules
from mindspeed.adaptor.discovery import all_features

JOB = Path(__file__).parents[2] / "support" / "buffers_job.py"


def test_the_named_group_alone() -> None:
    """With a size for its buffers, too."""
    (row,) = torchrun.rows(
        2, JOB, [json.dumps({"hccl_op_mode": "tp:3", "hccl_group_buffer": "tp:4"})], timeout=300
    )
    assert row["options"]["tp"] == {"group_name": "tp", "hccl_op_expansion_mode": 3, "hccl_buffer_size": 4}
    assert row["options"]["pp"] == {"group_name": "pp"}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("tp=3", "--hccl-op-mode 'tp=3': wanted GROUP:MODE, as tp:3;ep:2"),
        ("tq:3", "tq: there is no such group"),
        ("tp:5", "tp:5: wanted 0 to 4"),
        ("ep:1;exp:2", "exp is given twice"),
    ],
)
def test_rules(text: str, wanted: str) -> None:
    args = Namespace(hccl_op_mode=text)
    features = tuple(f for f in all_features() if f.name == "hccl-op-mode")
    arguments.complete(args, features)
    assert wanted in rules.problems(features, args, 2)[0]
