# SPDX-License-Identifier: Apache-2.0
"""--disable-gloo-group: the state is that which Gloo gathers, and comes back; no group is of Gloo."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
import torchrun
from mindspeed.adaptor import arguments, rules
from mindspeed.adaptor.discovery import all_features
from mindspeed.features.communication import disable_gloo_group as feature

JOB = Path(__file__).parents[2] / "support" / "gloo_job.py"


def found(**flags: Any) -> dict[str, Any]:
    (row,) = torchrun.rows(2, JOB, [json.dumps(flags)], timeout=300)
    return row


def test_the_state_is_the_same() -> None:
    """In slices that divide nothing evenly."""
    gloo = found(disable_gloo_group=False)
    hccl = found(disable_gloo_group=True, hccl_slice_size=10_007)
    assert "gloo" in gloo["backends"] and hccl["backends"] == ["hccl"]
    assert hccl["state"] == gloo["state"]
    assert hccl["ranks with their own again"] == gloo["ranks with their own again"] == 2
    by_name = found(disable_gloo_group=False, hccl_slice_size=10_007, by_name=True)
    assert by_name["state"] == gloo["state"] and by_name["ranks with their own again"] == 2
    # Of one rank's own parameter the first rank, which is compared with itself, knows nothing.
    assert by_name["hashes"] == hccl["hashes"] == [True, 1]


def test_tensors_of_the_device_go_straight() -> None:
    calls: list[Any] = []

    def gather(*args: Any) -> str:
        calls.append(args)
        return "done"

    here = torch.ones(3, device="npu")
    assert feature.gathering(gather)(here, [here], 0, None) == "done"
    assert feature.scattering(gather)(here, scatter_list=[here], src=0) == "done"
    assert len(calls) == 2 and all(call[0] is here for call in calls)


def problems(**given: Any) -> list[str]:
    args = Namespace(disable_gloo_group=True, **given)
    features = tuple(f for f in all_features() if f.name == "disable-gloo-group")
    arguments.complete(args, features)
    return list(rules.problems(features, args, 2))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"hccl_slice_size": 0}, "wanted a number of values above 0"),
        ({"use_custom_fsdp": True}, "--use-custom-fsdp asks Megatron for groups of Gloo"),
    ],
)
def test_rules(given: dict[str, Any], wanted: str) -> None:
    assert problems() == [] and wanted in problems(**given)[0]
